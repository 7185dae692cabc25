//! Tells a haproxy by its admin socket which servers get connections (management guide, `set server`). What it is told is
//! gone when it ends, and so is the need to undo it.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// Why it did not do it.
#[derive(Debug)]
pub(crate) enum NotTold {
    /// Nobody listens there.
    Gone(String),
    Refused(String),
}

impl std::fmt::Display for NotTold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (NotTold::Gone(why) | NotTold::Refused(why)) = self;
        f.write_str(why)
    }
}

/// What undoes a change of a server (`BACKEND/SERVER`): the state in which it is now.
pub(crate) async fn state(socket: &str, server: &str) -> Result<&'static str, NotTold> {
    let (backend, name) = server.split_once('/').unwrap_or((server, ""));
    let answer = tell(socket, &format!("show servers state {backend}")).await?;
    // Fields: be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state …
    let is_its =
        |fields: &Vec<&str>| fields.get(1) == Some(&backend) && fields.get(3) == Some(&name);
    let mut rows = answer.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let row = rows.find(is_its);
    let admin = row.and_then(|fields| fields.get(6)?.parse::<u32>().ok());
    let admin =
        admin.ok_or_else(|| NotTold::Refused(format!("{socket}: there is no server {server}")))?;
    Ok(match admin {
        admin if admin & FORCED_MAINT != 0 => "maint",
        admin if admin & FORCED_DRAIN != 0 => "drain",
        _ => "ready",
    })
}

/// Sets the state of a server, `ready`, `drain` or `maint`, and looks. Who is put away loses its sessions.
pub(crate) async fn set(socket: &str, server: &str, state: &str) -> Result<(), NotTold> {
    done(socket, &format!("set server {server} state {state}")).await?;
    if state == "maint" {
        done(socket, &format!("shutdown sessions server {server}")).await?;
    }
    let is = self::state(socket, server).await?;
    let not = || NotTold::Refused(format!("{socket}: {server} is {is}, and was to be {state}"));
    if is == state { Ok(()) } else { Err(not()) }
}

/// A command that says nothing when it worked.
async fn done(socket: &str, command: &str) -> Result<(), NotTold> {
    let answer = tell(socket, command).await?;
    match answer.trim() {
        "" => Ok(()),
        why => Err(NotTold::Refused(format!("{socket}: `{command}`: {why}"))),
    }
}

async fn tell(socket: &str, command: &str) -> Result<String, NotTold> {
    let asked = async {
        let line = format!("{command}\n");
        let mut answer = Vec::new();
        if socket.starts_with('/') {
            let mut stream = UnixStream::connect(socket).await?;
            stream.write_all(line.as_bytes()).await?;
            stream.take(LONGEST).read_to_end(&mut answer).await?;
        } else {
            let mut stream = TcpStream::connect(socket).await?;
            stream.write_all(line.as_bytes()).await?;
            stream.take(LONGEST).read_to_end(&mut answer).await?;
        }
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(e)) => Err(NotTold::Gone(format!("{socket}: {e}"))),
        Err(_) => {
            Err(NotTold::Refused(format!("{socket}: no answer within {} s", PATIENCE.as_secs())))
        }
    }
}

/// SRV_ADMF_FMAINT and SRV_ADMF_FDRAIN of its state files.
const FORCED_MAINT: u32 = 0x01;
const FORCED_DRAIN: u32 = 0x08;
const LONGEST: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(10);
