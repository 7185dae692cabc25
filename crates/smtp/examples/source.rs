//! What `cargo xtask bench wire` runs against smtp-source: so many messages over so many sessions, every phase of
//! each stamped. It is one thread, as smtp-source is one process.

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use smtp::client::{Client, Endpoint, Options};
use smtp::{Address, Content, Envelope};
use tokio::task::LocalSet;

/// What all sessions share.
struct Job {
    endpoint: Endpoint,
    options: Options,
    content: Content,
    envelope: Envelope,
    is_reused: bool,
    left: Cell<u32>,
    accepted: Cell<u32>,
    /// So that the stamps are looked at.
    phases: Cell<u64>,
    in_phases: Cell<Duration>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((job, sessions)) = job(&arguments) else {
        eprintln!(
            "source ADDRESS:PORT SESSIONS MESSAGES BYTES fresh|reuse|reuse-pipelined|fresh-pipelined"
        );
        return ExitCode::from(2);
    };
    let messages = job.left.get();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("no runtime: {e}");
            return ExitCode::FAILURE;
        }
    };
    let (job, started) = (Rc::new(job), Instant::now());
    LocalSet::new().block_on(&runtime, async {
        let sessions: Vec<_> =
            (0..sessions).map(|_| tokio::task::spawn_local(session(Rc::clone(&job)))).collect();
        for session in sessions {
            let _ = session.await;
        }
    });
    println!(
        "{{\"accepted\":{},\"wall_s\":{},\"phases\":{},\"in_phases_s\":{}}}",
        job.accepted.get(),
        started.elapsed().as_secs_f64(),
        job.phases.get(),
        job.in_phases.get().as_secs_f64(),
    );
    if job.accepted.get() == messages { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn job(arguments: &[String]) -> Option<(Job, u32)> {
    let [address, sessions, messages, bytes, kind] = arguments else { return None };
    let bytes: usize = bytes.parse().ok()?;
    let line = [&[b'x'; 70][..], b"\r\n"].concat();
    let mut text = b"Subject: load\r\n\r\n".to_vec();
    while text.len() < bytes {
        text.extend_from_slice(&line);
    }
    let address_of = |text: &str| Address::parse(text).ok();
    let job = Job {
        endpoint: Endpoint::Tcp(address.parse().ok()?, None),
        options: Options { pipelining: kind.ends_with("pipelined"), ..Options::new("localhost") },
        content: Content::new(&text),
        envelope: Envelope {
            from: Some(address_of("from@source.test")?),
            to: vec![address_of("to@sink.test")?.into()],
            ..Envelope::default()
        },
        is_reused: kind.starts_with("reuse"),
        left: Cell::new(messages.parse().ok()?),
        accepted: Cell::new(0),
        phases: Cell::new(0),
        in_phases: Cell::new(Duration::ZERO),
    };
    Some((job, sessions.parse().ok()?))
}

async fn session(job: Rc<Job>) {
    let mut kept: Option<Client> = None;
    while job.left.get() > 0 {
        job.left.set(job.left.get() - 1);
        let mut client = match kept.take() {
            Some(client) => client,
            None => match Client::connect(&job.endpoint, &job.options).await {
                Ok(client) => client,
                Err(e) => {
                    eprintln!("{e}");
                    return;
                }
            },
        };
        let sent = client.send(&job.envelope, &[&job.content], None).await;
        for stamp in client.take_stamps() {
            job.phases.set(job.phases.get() + 1);
            job.in_phases.set(job.in_phases.get() + stamp.took());
        }
        match sent.first() {
            Some(outcome) if outcome.is_accepted() => job.accepted.set(job.accepted.get() + 1),
            other => eprintln!("{other:?}"),
        }
        if job.is_reused && client.is_open() {
            kept = Some(client);
        } else {
            client.quit().await;
        }
    }
    if let Some(client) = kept {
        client.quit().await;
    }
}
