//! Sockets to serve on.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use smtp::server::{BoundPath, Socket, bind};
use tokio::net::TcpListener;

/// What is spoken on a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Smtp,
    Submission,
    Submissions,
    Lmtp,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Smtp => "smtp",
            Kind::Submission => "submission",
            Kind::Submissions => "submissions",
            Kind::Lmtp => "lmtp",
        }
    }
}

/// A socket, and what it is for.
pub(super) struct Bound {
    pub(super) kind: Kind,
    pub(super) address: String,
    pub(super) socket: Socket,
}

/// Binds a socket to an address or, for LMTP, a path.
pub(super) async fn bind_to(kind: Kind, place: String) -> Result<(Bound, Option<BoundPath>)> {
    if let Ok(address) = place.parse::<SocketAddr>() {
        let listener = TcpListener::bind(address).await.with_context(|| failed(&place))?;
        let address = listener.local_addr()?.to_string();
        return Ok((Bound { kind, address, socket: Socket::Tcp(listener) }, None));
    }
    // As open as a port on loopback: mail servers run as users of their own.
    let (listener, path) = bind(Path::new(&place), 0o666).await.with_context(|| failed(&place))?;
    Ok((Bound { kind, address: place, socket: Socket::Unix(listener) }, Some(path)))
}

pub(super) fn failed(place: impl Display) -> String {
    format!("cannot listen on {place}")
}
