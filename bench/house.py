"""A house to measure, made by `init` in a folder of its own."""
import os, subprocess


def make(binary, folder, edits):
    """Makes it, and changes its configuration: pairs of what stands there and what shall."""
    subprocess.run(
        [binary, "--json", "init", "--name", "Bench", "--url", "https://localhost",
         "--upstream", "http://127.0.0.1:9", "--operator", "ops@bench.example"],
        cwd=folder, check=True, stdout=subprocess.DEVNULL)
    edit(folder, edits)


def edit(folder, edits):
    path = os.path.join(folder, "stagedoor.toml")
    text = open(path).read()
    for old, new in edits:
        assert old in text, f"no `{old}` in {path}"
        text = text.replace(old, new)
    open(path, "w").write(text)


def listen(door, console):
    """Edits that put door and console at these ports of this host; 0 takes a free one."""
    return [("0.0.0.0:8443", f"127.0.0.1:{door}"), ("127.0.0.1:8444", f"127.0.0.1:{console}")]
