//! The servers that tests talk to: a PostgreSQL of the checks' own, thrown away afterwards, and a
//! Redis. A person's own server is never written to: it is used only where a variable names it.
//! The own PostgreSQL does not sync to disk: the tests crash programs, not machines.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::house::{House, is_root, which};
use crate::setup::find;

/// Names the PostgreSQL that tests make their databases in, as a URL of a superuser.
pub(crate) const POSTGRES: &str = "STAGEDOOR_TEST_POSTGRES";
/// Names the Redis that tests talk to, as a URL.
pub(crate) const REDIS: &str = "STAGEDOOR_TEST_REDIS";

/// The servers, as long as this lives.
#[derive(Debug, Default)]
pub(crate) struct Services {
    postgres: Option<Cluster>,
    redis: Option<Child>,
}

impl Services {
    /// Starts what no variable names, and tells every later program where it is.
    ///
    /// # Errors
    /// Where a server is installed and cannot be started. One that is not installed is left out.
    pub(crate) fn start(house: &House) -> Result<Self> {
        let mut services = Self::default();
        if std::env::var_os(POSTGRES).is_none() {
            if find("initdb").is_some() {
                let cluster = Cluster::start(house).context("PostgreSQL")?;
                house.set(POSTGRES, cluster.url());
                services.postgres = Some(cluster);
            } else {
                house.leave_out(format!(
                    "rooms on PostgreSQL: none is installed, nor in {POSTGRES}"
                ));
                // a test without its server fails unless it is told that there is none
                house.set(POSTGRES, "none".to_owned());
            }
        }
        if std::env::var_os(REDIS).is_none() {
            if answers(6379) {
                house.set(REDIS, "redis://127.0.0.1:6379/15".to_owned());
            } else if let Some(program) = which("redis-server") {
                services.redis = Some(redis(house, &program).context("Redis")?);
            } else {
                house.leave_out(format!("Redis: none is installed, nor in {REDIS}"));
            }
        }
        Ok(services)
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        if let Some(child) = &mut self.redis {
            // it keeps nothing, so there is nothing to say goodbye to
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A PostgreSQL cluster of our own.
#[derive(Debug)]
struct Cluster {
    folder: PathBuf,
    port: u16,
    /// The user that it runs as, where we are root: PostgreSQL refuses to be.
    user: Option<&'static str>,
}

impl Cluster {
    fn start(house: &House) -> Result<Self> {
        let user = is_root().then(|| if has_user("postgres") { "postgres" } else { "nobody" });
        let folder = place(house, user)?;
        let cluster = Self { folder, port: free_port()?, user };
        // a run that was cut off may have left one behind
        cluster.stop(house);
        if cluster.folder.exists() {
            std::fs::remove_dir_all(&cluster.folder)?;
        }
        std::fs::create_dir_all(&cluster.folder)?;
        if let Some(user) = user {
            let folder = cluster.folder.display().to_string();
            house.output(house.command("chown", &[user, &folder]))?;
        }
        let data = cluster.data();
        house.output(cluster.program(
            house,
            "initdb",
            &["-D", &data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
        ))?;
        let log = cluster.folder.join("log").display().to_string();
        let options = format!(
            "-F -p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' \
             -c max_connections=400 -c synchronous_commit=off -c full_page_writes=off",
            cluster.port
        );
        let args = ["-D", &data, "-l", &log, "-w", "-t", "60", "-o", &options, "start"];
        let mut start = cluster.program(house, "pg_ctl", &args);
        // the server keeps pg_ctl's output open: waiting for its end would never end
        start.stdout(Stdio::null()).stderr(Stdio::null());
        let started = start.status()?;
        if !started.success() {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            anyhow::bail!("it did not start:\n{log}");
        }
        Ok(cluster)
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn data(&self) -> String {
        self.folder.join("data").display().to_string()
    }

    fn program(&self, house: &House, name: &str, args: &[&str]) -> Command {
        let program = find(name).unwrap_or_else(|| name.into());
        let Some(user) = self.user else { return house.command(program, args) };
        let program = program.display().to_string();
        let mut words = vec!["-u", user, "--", program.as_str()];
        words.extend(args);
        let mut command = house.command("runuser", &words);
        // that user may not stand in our folder
        command.current_dir("/");
        command
    }

    fn stop(&self, house: &House) {
        if Path::new(&self.data()).join("postmaster.pid").exists() {
            let args = ["-D", &self.data(), "-m", "immediate", "-w", "stop"];
            // where it is gone already, that is as well
            let _ = self.program(house, "pg_ctl", &args).output();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let house = House::at("/".into(), "/".into(), false);
        self.stop(&house);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A folder for the cluster: in the target folder where its user can get there, else among the
/// machine's temporary files.
fn place(house: &House, user: Option<&str>) -> Result<PathBuf> {
    std::fs::create_dir_all(&house.target)?;
    let target = house.target.canonicalize()?;
    let Some(user) = user else { return Ok(target.join("pg")) };
    let shown = target.display().to_string();
    let mut reach = house.command("runuser", &["-u", user, "--", "test", "-x", &shown]);
    if reach.current_dir("/").status()?.success() {
        return Ok(target.join("pg"));
    }
    Ok(std::env::temp_dir().join(format!("stagedoor-pg-{}", std::process::id())))
}

fn redis(house: &House, program: &Path) -> Result<Child> {
    let port = free_port()?;
    let shown = port.to_string();
    let args = ["--bind", "127.0.0.1", "--port", &shown, "--save", "", "--appendonly", "no"];
    let mut command = house.command(program, &args);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    house.set(REDIS, format!("redis://127.0.0.1:{port}/0"));
    Ok(child)
}

fn has_user(name: &str) -> bool {
    let prefix = format!("{name}:");
    std::fs::read_to_string("/etc/passwd")
        .is_ok_and(|users| users.lines().any(|line| line.starts_with(&prefix)))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn answers(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_millis(300)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_answers_once_somebody_listens() {
        let port = free_port().unwrap();
        assert!(!answers(port));
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(answers(port));
    }

    #[test]
    fn a_cluster_starts_and_leaves_nothing_behind() {
        if find("initdb").is_none() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let house = House::at("/".into(), folder.path().join("target"), false);
        let cluster = Cluster::start(&house).unwrap();
        let (place, port) = (cluster.folder.clone(), cluster.port);
        assert!(answers(port));
        drop(cluster);
        assert!(!place.exists() && !answers(port));
    }
}
