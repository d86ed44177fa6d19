"""Roots and proofs by pymerkle 7, line by line.

In:  index old_size leaf leaf ...   (leaves in hex, "-" for the empty entry)
Out: root old_root inclusion        (hex; the proof's hashes joined by commas, "-" for none)
"""
import sys
import warnings

from pymerkle import InmemoryTree

warnings.simplefilter("ignore")


def line_for(index, old, leaves):
    tree = InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        tree.append_entry(b"" if leaf == "-" else bytes.fromhex(leaf))
    size = len(leaves)
    root = tree.get_state().hex()
    if size == 0:
        return f"{root} - -"
    old_root = tree.get_state(old).hex()
    inclusion = tree.prove_inclusion(index + 1, size).serialize()["path"][1:]
    return f"{root} {old_root} {','.join(inclusion) or '-'}"


for text in sys.stdin:
    words = text.split()
    print(line_for(int(words[0]), int(words[1]), words[2:]))
