//! What goes on beside the sending, on a runtime and a thread of its own: whoever sees mail arrive, and whoever asks for
//! the length of the server's queue.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use load::deliver::{
    Delivery, Folder, Judge, Judged, Place as ImapPlace, Sight, Watch, listen_sink, watch_imap,
    watch_maildir,
};
use load::engine::{Deliveries, Stop};
use load::letters;
use load::queue::{Sampler, Samples, Source};
use load::result::Record;
use smtp::tls::{Tls, Trust};
use tokio::sync::watch;

use crate::exit::{Interrupted, UsageError};
use crate::ui::Ui;

/// Watches and asks until it is stopped.
pub(super) struct Sides {
    pub(super) deliveries: Option<Arc<Mutex<Deliveries>>>,
    queue: Option<Arc<Mutex<Looks>>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<Result<Ended>>>,
}

/// What was seen of the queue.
#[derive(Debug, Clone)]
pub(super) struct Looks {
    /// From which on the samples' times run.
    pub(super) since: Instant,
    pub(super) samples: Samples,
    pub(super) last: Option<u64>,
    pub(super) failures: u64,
    pub(super) why: Option<String>,
}

impl Default for Looks {
    fn default() -> Self {
        let samples = Samples::default();
        Self { since: Instant::now(), samples, last: None, failures: 0, why: None }
    }
}

/// What is left at the end.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) sight: Option<Sight>,
}

/// Where mail is to appear.
#[derive(Clone)]
pub(super) enum Place {
    Maildir(String),
    Sink(SocketAddr),
    Imap(Box<Folder>),
}

impl Place {
    /// `password` is the file that has the one for IMAP; `trust` whom to trust there.
    pub(super) fn parse(text: &str, password: Option<&Path>, trust: &Trust) -> Result<Self> {
        let usage = || UsageError(EXPECTED.to_owned());
        match text.split_once(':') {
            Some(("imap" | "imaps", _)) => Ok(Place::Imap(Box::new(imap(text, password, trust)?))),
            Some(("maildir", dir)) if !dir.is_empty() => Ok(Place::Maildir(dir.to_owned())),
            Some(("sink", address)) => Ok(Place::Sink(address.parse().map_err(|_| usage())?)),
            _ => Err(usage().into()),
        }
    }
}

fn imap(text: &str, password: Option<&Path>, trust: &Trust) -> Result<Folder> {
    let place: ImapPlace =
        ImapPlace::parse(text).map_err(|e| UsageError(format!("--deliver {text}: {e}")))?;
    let password = match (password, std::env::var("MAILRIG_IMAP_PASSWORD")) {
        (Some(path), _) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?
            .trim_end_matches(['\r', '\n'])
            .to_owned(),
        (None, Ok(password)) => password,
        (None, Err(_)) => {
            let reason =
                "--deliver imap:// needs --deliver-password-file, or MAILRIG_IMAP_PASSWORD";
            return Err(UsageError(reason.to_owned()).into());
        }
    };
    // Elsewhere a password is said after STARTTLS only.
    let is_secured = place.is_tls || !is_here(&place.host);
    let tls = is_secured.then(|| Tls::new(trust, true, None)).transpose()?;
    Ok(Folder { place, password, tls, interval: IMAP_INTERVAL })
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Sides {
    /// Starts, and waits until everything that arrives is seen.
    pub(super) fn start(
        run: u64,
        place: Option<&Place>,
        queue: Option<&str>,
        interrupted: &Stop,
        say: impl Fn(String),
    ) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let deliveries = place.map(|_| Arc::new(Mutex::new(Deliveries::default())));
        let looks = queue.map(|_| Arc::new(Mutex::new(Looks::default())));
        if place.is_none() && queue.is_none() {
            return Ok(Self { deliveries, queue: looks, stop, thread: None });
        }
        let (ready_to, ready) = channel();
        let work = {
            let (deliveries, looks) = (deliveries.clone(), looks.clone());
            let (place, queue) = (place.cloned(), queue.map(Source::parse));
            move || -> Result<Ended> {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .enable_all()
                    .build()?;
                runtime.block_on(async {
                    let watch = match &place {
                        Some(place) => Some(begin(place, judge(run)).await?),
                        None => None,
                    };
                    if let Some(source) = &queue {
                        // Better now than not at all at the end.
                        Sampler::new(source.clone(), QUEUE_LIMIT).sample().await?;
                    }
                    let listening = watch.as_ref().and_then(|(_, listening)| *listening);
                    let _ = ready_to.send(listening);
                    let asking = queue
                        .zip(looks)
                        .map(|(source, looks)| tokio::spawn(ask(source, looks, stopped.clone())));
                    let sight = match watch.zip(deliveries) {
                        Some(((watch, _), deliveries)) => {
                            Some(see(watch, &deliveries, stopped.clone()).await?)
                        }
                        None => None,
                    };
                    if let Some(asking) = asking {
                        asking.await.context("whoever asks for the queue panicked")?;
                    }
                    Ok(Ended { sight })
                })
            }
        };
        let thread = thread::Builder::new().name("load-sides".into()).spawn(work)?;
        let mut sides = Self { deliveries, queue: looks, stop, thread: Some(thread) };
        sides.wait_ready(&ready, interrupted, say)?;
        Ok(sides)
    }

    fn wait_ready(
        &mut self,
        ready: &Receiver<Option<SocketAddr>>,
        interrupted: &Stop,
        say: impl Fn(String),
    ) -> Result<()> {
        loop {
            match ready.recv_timeout(LOOK_ROUND) {
                Ok(Some(address)) => say(format!("Taking relayed mail on {address}")),
                Ok(None) => {}
                // A server that says nothing keeps nobody from leaving.
                Err(RecvTimeoutError::Timeout) if interrupted.is_stopped() => {
                    return Err(Interrupted.into());
                }
                Err(RecvTimeoutError::Timeout) => continue,
                // It ended before it was ready: it says why.
                Err(RecvTimeoutError::Disconnected) => {
                    self.end()?;
                }
            }
            return Ok(());
        }
    }

    /// A run begins: what was seen before is not its.
    pub(super) fn begin_run(&self) -> Option<Arc<Mutex<Deliveries>>> {
        if let Some(looks) = &self.queue {
            let mut looks = lock(looks);
            *looks = Looks { since: Instant::now(), ..Looks::default() };
        }
        if let Some(deliveries) = &self.deliveries {
            *lock(deliveries) = Deliveries::default();
        }
        self.deliveries.clone()
    }

    /// What was seen since the run began.
    pub(super) fn end_run(&self) -> (Option<Delivery>, Option<Looks>) {
        let taken = self.deliveries.as_ref().map(|all| std::mem::take(&mut *lock(all)).finish());
        (taken, self.queue.as_ref().map(|looks| lock(looks).clone()))
    }

    /// The queue's length when it was asked for last.
    pub(super) fn queue_now(&self) -> Option<u64> {
        self.queue.as_ref().and_then(|looks| lock(looks).last)
    }

    /// Waits until the queue is no longer than `depth`, at most `limit`: what one run leaves is no load of the next. Gives
    /// the length, if it was too long to the end.
    pub(super) fn wait_queue(&self, depth: u64, limit: Duration, stop: &Stop) -> Option<u64> {
        let begun = Instant::now();
        loop {
            let now = self.queue_now().filter(|now| *now > depth)?;
            if begun.elapsed() >= limit || stop.is_stopped() {
                return Some(now);
            }
            thread::sleep(LOOK_ROUND);
        }
    }

    /// Stops all, and tells what was not seen well. What a watcher saw that broke is no account: it is as if nobody had
    /// looked, and the rest of the result stands.
    pub(super) fn conclude(&mut self, record: &mut Record, ui: &Ui) {
        let looks = self.queue.as_ref().map(|looks| lock(looks).clone());
        if let Some(Looks { failures, why: Some(why), .. }) = looks {
            ui.warning(format!("the queue could not be asked for {failures} times: {why}"));
        }
        match self.end() {
            Ok(Ended { sight: Some(sight) }) if sight.overflows > 0 => ui.warning(format!(
                "mail came faster than it could be seen, {} times: some delivery times are too long",
                sight.overflows
            )),
            Ok(_) => {}
            Err(e) => {
                ui.warning(format!("deliveries were not measured: {e:#}"));
                record.delivery = None;
            }
        }
    }

    /// Stops all, and tells how it went.
    fn end(&mut self) -> Result<Ended> {
        self.stop.send_replace(true);
        match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| anyhow!("a watcher panicked"))?,
            None => Ok(Ended::default()),
        }
    }
}

impl Drop for Sides {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Knows the messages of a run.
fn judge(run: u64) -> Judge {
    Arc::new(move |message| {
        let head_end = end_of_header(message);
        match letters::read_mark(&message[..head_end]) {
            Some(mark) if mark.run == run => {
                let sum_ok = letters::sum(&message[head_end..]) == mark.sum;
                Judged::Ours { index: mark.index, sum_ok }
            }
            Some(_) => Judged::Foreign,
            None => Judged::Other,
        }
    })
}

/// Where the body begins: after the first empty line.
fn end_of_header(message: &[u8]) -> usize {
    let mut start = 0;
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        start += line.len();
        if matches!(line, b"\n" | b"\r\n") {
            return start;
        }
    }
    message.len()
}

async fn begin(place: &Place, judge: Judge) -> Result<(Watch, Option<SocketAddr>)> {
    match place {
        Place::Imap(folder) => Ok((watch_imap((**folder).clone(), judge).await?, None)),
        Place::Maildir(dir) => Ok((watch_maildir(Path::new(dir), judge).await?, None)),
        Place::Sink(address) => {
            let sink = listen_sink(*address, "mailrig.test", judge).await?;
            Ok((sink.watch, Some(sink.address)))
        }
    }
}

async fn see(
    mut watch: Watch,
    deliveries: &Mutex<Deliveries>,
    mut stopped: watch::Receiver<bool>,
) -> Result<Sight> {
    loop {
        tokio::select! {
            biased;
            seen = watch.next() => match seen {
                Some(seen) => lock(deliveries).take_seen(&seen),
                None => break,
            },
            _ = stopped.wait_for(|is_stopped| *is_stopped) => {
                watch.stop();
                // What was there before is still seen.
                while let Some(seen) = watch.next().await {
                    lock(deliveries).take_seen(&seen);
                }
                break;
            }
        }
    }
    Ok(watch.end().await?)
}

/// Asks once a second, or as often as answers come.
async fn ask(source: Source, looks: Arc<Mutex<Looks>>, mut stopped: watch::Receiver<bool>) {
    let sampler = Sampler::new(source, QUEUE_LIMIT);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = stopped.wait_for(|is_stopped| *is_stopped) => return,
        }
        let asked = Instant::now();
        let answer = tokio::select! {
            answer = sampler.sample() => answer,
            _ = stopped.wait_for(|is_stopped| *is_stopped) => return,
        };
        let mut looks = lock(&looks);
        match answer {
            Ok(depth) => {
                // A question from before this run belongs to the one before.
                if let Some(at) = asked.checked_duration_since(looks.since) {
                    looks.samples.push(at, depth.messages);
                }
                looks.last = Some(depth.messages);
            }
            Err(e) => {
                looks.failures += 1;
                looks.why.get_or_insert_with(|| e.to_string());
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const EXPECTED: &str =
    "--deliver is maildir:DIR, sink:ADDRESS:PORT, or imap://USER@HOST[:PORT][/FOLDER]";

/// Between two looks over IMAP.
const IMAP_INTERVAL: Duration = Duration::from_millis(100);

/// How often those who wait look whether they still have to.
const LOOK_ROUND: Duration = Duration::from_millis(100);

/// For the program that tells the queue's length.
const QUEUE_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_is_too_long_is_waited_for_and_not_for_ever() {
        let looks = Looks { last: Some(5), ..Looks::default() };
        let queue = Some(Arc::new(Mutex::new(looks)));
        let (stop, _) = watch::channel(false);
        let sides = Sides { deliveries: None, queue, stop, thread: None };
        let wait = |depth, stop: &Stop| sides.wait_queue(depth, Duration::ZERO, stop);
        assert_eq!((wait(5, &Stop::default()), wait(4, &Stop::default())), (None, Some(5)));
        let stopped = Stop::default();
        stopped.stop();
        assert_eq!(sides.wait_queue(4, Duration::from_secs(600), &stopped), Some(5));
    }

    #[test]
    fn a_password_for_another_host_is_said_after_tls_only() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "secret\n").unwrap();
        for (place, has_tls) in [
            ("imap://ann@127.0.0.1", false),
            ("imap://ann@[::1]:1143", false),
            ("imap://ann@localhost", false),
            ("imap://ann@192.0.2.1", true),
            ("imap://ann@mx.test", true),
            ("imaps://ann@127.0.0.1", true),
        ] {
            let parsed = Place::parse(place, Some(file.path()), &Trust::Anybody).unwrap();
            let Place::Imap(folder) = parsed else { panic!("{place} is not IMAP") };
            assert_eq!((folder.tls.is_some(), folder.password.as_str()), (has_tls, "secret"));
        }
    }
}
