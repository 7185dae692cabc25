//! One session on its sockets: reads where there is room, writes when it is time, and closes as a rule wants it. What
//! is to pass is decided elsewhere. It can be dropped at any moment, which closes both sides.

use std::future::pending;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::middle::{End, Middle, Way};
use super::pipe::Due;
use super::secure::{Bridge, Flaw, Socket};
use super::{Mode, Shared};

/// Both sides of a session.
pub(super) struct Session {
    shared: Arc<Shared>,
    mode: watch::Receiver<Mode>,
    client: Socket,
    /// Where the client's TLS ends here.
    bridge: Option<Bridge>,
    server: Option<Socket>,
    middle: Middle,
    scratch: Vec<u8>,
    /// Whether the server does not read any more.
    is_server_deaf: bool,
    /// Whether it ended by RST: so does the client's side.
    is_server_reset: bool,
    has_shut: Shut,
}

/// What was told that nothing more comes.
#[derive(Debug, Default, Clone, Copy)]
struct Shut {
    client: bool,
    server: bool,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>, client: TcpStream) -> Self {
        Self {
            mode: shared.mode.subscribe(),
            middle: Middle::new(Arc::clone(&shared.faults)),
            shared,
            client: Socket::Tcp(client),
            bridge: None,
            server: None,
            scratch: vec![0; READ_BYTES],
            is_server_deaf: false,
            is_server_reset: false,
            has_shut: Shut::default(),
        }
    }

    /// Until one side or a rule ends it.
    pub(super) async fn run(mut self) {
        let end = self.pass().await.unwrap_or(End::Reset);
        if end == End::Reset {
            for stream in [Some(&self.client), self.server.as_ref()].into_iter().flatten() {
                stream.reset_at_close();
            }
            if let Some(bridge) = self.bridge.take() {
                bridge.reset().await;
            }
            return;
        }
        drop(self.server.take());
        // Who closes with bytes unread resets, and the other side may lose what was said last.
        let _ = self.client.shutdown().await;
        let client_gone = async {
            while self.client.readable().await.is_ok() {
                match self.client.try_read(&mut self.scratch) {
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        };
        let carrying = async {
            carried(&mut self.bridge).await;
            pending::<()>().await;
        };
        let both = async {
            tokio::select! {
                () = client_gone => {}
                () = carrying => {}
            }
        };
        // It ends by itself, or is left.
        let _ = timeout(LINGER, both).await;
    }

    async fn pass(&mut self) -> io::Result<End> {
        self.wait_while_dark().await?;
        let mut closing = self.middle.open(now()).map(|end| (end, Instant::now() + CLOSING));
        if closing.is_none() && !self.middle.is_alone() {
            let called = timeout(CALLING, TcpStream::connect(self.shared.to)).await;
            let server = called.map_err(|_| io::Error::from(ErrorKind::TimedOut))??;
            server.set_nodelay(true)?;
            self.server = Some(Socket::Tcp(server));
        }
        loop {
            let is_dark = *self.mode.borrow_and_update() == Mode::BlackHole;
            if !is_dark && closing.is_none() {
                let end = self.middle.advance(now());
                closing = end.map(|end| (end, Instant::now() + CLOSING));
            }
            if self.middle.is_alone() || self.is_server_deaf {
                self.middle.up.pipe.clear();
            }
            if self.middle.is_alone() {
                self.server = None;
            }
            if let Some((end, deadline)) = closing {
                let is_written = self.middle.up.pipe.is_empty() && self.middle.down.pipe.is_empty();
                if is_written || Instant::now() >= deadline {
                    return Ok(end);
                }
            } else if let Some(end) = self.shut().await {
                return Ok(end);
            }
            if let Some(flaw) = self.middle.secures().filter(|_| !is_dark && closing.is_none()) {
                self.secure(flaw)?;
            }
            self.turn(is_dark, closing.map(|(_, deadline)| deadline)).await?;
        }
    }

    /// From here on the session sees what is inside the client's TLS.
    fn secure(&mut self, flaw: Flaw) -> io::Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        if let Socket::Tcp(client) = std::mem::replace(&mut self.client, Socket::Inside(ours)) {
            self.bridge = Some(Bridge::new(client, &self.shared.certificates, flaw, theirs)?);
        }
        self.middle.secured();
        Ok(())
    }

    /// Passes on that one side says nothing more. Both: that is the end.
    async fn shut(&mut self) -> Option<End> {
        let Middle { up, down, .. } = &self.middle;
        if up.pipe.is_ending && up.pipe.is_empty() && !self.has_shut.server {
            self.has_shut.server = true;
            if let Some(server) = &mut self.server {
                // A server that is gone is found out by reading.
                let _ = server.shutdown().await;
            }
        }
        if down.pipe.is_ending && down.pipe.is_empty() && !self.has_shut.client {
            if self.is_server_reset {
                return Some(End::Reset);
            }
            self.has_shut.client = true;
            // As above.
            let _ = self.client.shutdown().await;
        }
        let is_over = self.has_shut.client && (self.has_shut.server || self.is_server_deaf);
        is_over.then_some(End::Close)
    }

    /// Reads or writes once, or waits until it is time for something.
    async fn turn(&mut self, is_dark: bool, deadline: Option<Instant>) -> io::Result<()> {
        let Middle { up, down, .. } = &self.middle;
        let is_closing = deadline.is_some();
        let (up_due, down_due) = (up.pipe.due(now()), down.pipe.due(now()));
        let times =
            [deadline, self.middle.wake_at().map(Instant::from), time(&up_due), time(&down_due)];
        let wake = times.into_iter().flatten().min().filter(|_| !is_dark || is_closing);
        let (writes_up, writes_down) = (is_now(&up_due) && !is_dark, is_now(&down_due) && !is_dark);
        let (reads_up, reads_down) = (up.wants() && !is_closing, down.wants() && !is_closing);
        tokio::select! {
            ready = self.client.readable(), if reads_up => {
                ready?;
                read(&self.client, &mut self.scratch, &mut self.middle.up)
            }
            ready = readable(self.server.as_ref()), if reads_down => {
                let Some(server) = &self.server else { return Ok(()) };
                let done = ready.and_then(|()| read(server, &mut self.scratch, &mut self.middle.down));
                if done.is_err() {
                    (self.middle.down.is_ended, self.is_server_reset) = (true, true);
                }
                Ok(())
            }
            ready = self.client.writable(), if writes_down => {
                ready?;
                let written = write(&self.client, &mut self.middle.down)?;
                self.shared.counters.to_client(written);
                Ok(())
            }
            ready = writable(self.server.as_ref()), if writes_up => {
                let Some(server) = &self.server else { return Ok(()) };
                match ready.and_then(|()| write(server, &mut self.middle.up)) {
                    Ok(written) => self.shared.counters.to_server(written),
                    // It may have said why.
                    Err(_) => self.is_server_deaf = true,
                }
                Ok(())
            }
            () = carried(&mut self.bridge) => Ok(()),
            () = sleep(wake) => Ok(()),
            _ = self.mode.changed() => Ok(()),
        }
    }

    /// In a black hole no server is called. Who goes away meanwhile is let go.
    async fn wait_while_dark(&mut self) -> io::Result<()> {
        while *self.mode.borrow_and_update() == Mode::BlackHole {
            if self.middle.up.is_ended {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            tokio::select! {
                ready = self.client.readable(), if self.middle.up.wants() => {
                    ready?;
                    read(&self.client, &mut self.scratch, &mut self.middle.up)?;
                }
                _ = self.mode.changed() => {}
            }
        }
        Ok(())
    }
}

impl Way {
    /// Whether more should be read.
    fn wants(&self) -> bool {
        !self.is_ended && self.input.len() < INPUT_BYTES
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn read(stream: &Socket, scratch: &mut [u8], way: &mut Way) -> io::Result<()> {
    let room = INPUT_BYTES.saturating_sub(way.input.len()).min(scratch.len());
    match stream.try_read(&mut scratch[..room]) {
        Ok(0) => way.is_ended = true,
        Ok(length) => way.input.extend_from_slice(&scratch[..length]),
        Err(e) if e.kind() == ErrorKind::WouldBlock => {}
        Err(e) => return Err(e),
    }
    Ok(())
}

fn write(stream: &Socket, way: &mut Way) -> io::Result<usize> {
    let now = now();
    let Due::Now(bytes) = way.pipe.due(now) else { return Ok(0) };
    match stream.try_write(bytes) {
        Ok(length) => {
            way.pipe.took(length, now);
            Ok(length)
        }
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(0),
        Err(e) => Err(e),
    }
}

fn time(due: &Due<'_>) -> Option<Instant> {
    match due {
        Due::At(at) => Some(Instant::from(*at)),
        Due::Nothing | Due::Now(_) => None,
    }
}

fn is_now(due: &Due<'_>) -> bool {
    matches!(due, Due::Now(_))
}

async fn readable(stream: Option<&Socket>) -> io::Result<()> {
    match stream {
        Some(stream) => stream.readable().await,
        None => pending().await,
    }
}

async fn writable(stream: Option<&Socket>) -> io::Result<()> {
    match stream {
        Some(stream) => stream.writable().await,
        None => pending().await,
    }
}

/// Moves what is on the way between a client's TLS and the session, until that has ended.
async fn carried(bridge: &mut Option<Bridge>) {
    match bridge {
        Some(work) => {
            work.done().await;
            *bridge = None;
        }
        None => pending().await,
    }
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => pending().await,
    }
}

/// What was read and not yet looked at, each way: a line of the longest kind and a little more.
const INPUT_BYTES: usize = 16 * 1024;

const READ_BYTES: usize = 8 * 1024;

/// For the server to take a connection.
const CALLING: Duration = Duration::from_secs(10);

/// For what is on its way when a rule ends a session.
const CLOSING: Duration = Duration::from_secs(5);

/// For a client to read its last words.
const LINGER: Duration = Duration::from_millis(500);
