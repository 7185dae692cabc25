//! Somebody who looks at the same servers with a clock of his own: he asks the primary every millisecond whether it listens,
//! and is the way to the standby, where he sees each reply to a final dot go by.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

/// What was seen, in microseconds since 1970.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When the primary did not listen any more.
    pub(super) gone_us: Option<u64>,
    /// When a sender was turned away because the standby did not listen.
    pub(super) refused_us: Vec<u64>,
    /// When the standby's 250 to a final dot went by.
    pub(super) accepted_us: Vec<u64>,
}

pub(super) struct Observer {
    pub(super) relay: SocketAddr,
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    is_over: AtomicBool,
    seen: Mutex<Seen>,
}

impl Observer {
    pub(super) fn start(
        listener: TcpListener,
        primary: SocketAddr,
        standby: SocketAddr,
    ) -> Result<Self> {
        let relay = listener.local_addr()?;
        let state = Arc::new(State::default());
        let (asking, relaying) = (Arc::clone(&state), Arc::clone(&state));
        let threads = vec![
            thread::spawn(move || ask(primary, &asking)),
            thread::spawn(move || relay_all(&listener, standby, &relaying)),
        ];
        Ok(Self { relay, state, threads })
    }

    pub(super) fn end(self) -> Seen {
        self.state.is_over.store(true, Ordering::Relaxed);
        // Wakes the one that waits for a connection.
        drop(TcpStream::connect(self.relay));
        for thread in self.threads {
            let _ = thread.join();
        }
        std::mem::take(&mut self.state.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn note(&self, note: impl FnOnce(&mut Seen, u64)) {
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_micros());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        note(&mut seen, u64::try_from(now_us).unwrap_or(0));
    }
}

fn ask(primary: SocketAddr, state: &State) {
    let mut was_there = false;
    while !state.is_over.load(Ordering::Relaxed) {
        match TcpStream::connect_timeout(&primary, Duration::from_secs(1)) {
            Ok(_) => was_there = true,
            Err(_) if was_there => return state.note(|seen, now| seen.gone_us = Some(now)),
            Err(_) => {}
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn relay_all(listener: &TcpListener, standby: SocketAddr, state: &Arc<State>) {
    for client in listener.incoming() {
        if state.is_over.load(Ordering::Relaxed) {
            return;
        }
        let Ok(client) = client else { continue };
        let Ok(server) = TcpStream::connect(standby) else {
            state.note(|seen, now| seen.refused_us.push(now));
            continue;
        };
        let state = Arc::clone(state);
        thread::spawn(move || pass(&client, &server, &state));
    }
}

/// Both ways, until either end closes.
fn pass(client: &TcpStream, server: &TcpStream, state: &State) {
    let is_dot = AtomicBool::new(false);
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut tail = [0; 5];
            let _ = copy(client, server, |bytes| {
                for byte in bytes {
                    tail.rotate_left(1);
                    tail[4] = *byte;
                }
                if &tail == b"\r\n.\r\n" {
                    is_dot.store(true, Ordering::Relaxed);
                }
            });
        });
        let _ = copy(server, client, |bytes| {
            if bytes.starts_with(b"250") && is_dot.swap(false, Ordering::Relaxed) {
                state.note(|seen, now| seen.accepted_us.push(now));
            }
        });
    });
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, mut look: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return to.shutdown(Shutdown::Write);
        }
        look(&buffer[..length]);
        to.write_all(&buffer[..length])?;
    }
}
