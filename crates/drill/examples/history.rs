//! Writes the journal of a drill that never was, for the benchmark of judging: `history DIR MESSAGES` accepts so many
//! messages for 1,000 people, loses none, and finds each where it belongs. It is a whole run's folder for `drill analyze`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use drill::journal::{
    Begin, Done, Event, Found, Intent, Journal, Moment, Place, PlaceKind, Seen, Survey,
};

const PEOPLE: u32 = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("history DIR MESSAGES")?);
    let messages: u64 = arguments.next().ok_or("history DIR MESSAGES")?.parse()?;
    std::fs::create_dir_all(&dir)?;
    let start = Instant::now();
    let (journal, writer) = Journal::create(&dir.join(drill::JOURNAL), start)?;
    let at = |us: u64| start + Duration::from_micros(us);
    journal.note_at(at(0), Event::Begin(Box::new(begin())));
    for m in 0..messages {
        let (t, r) = (m * 1000, (m % u64::from(PEOPLE)) as u32);
        let intent = Intent { m, a: 1, s: 0, to: vec![r], bytes: 2048 };
        journal.note_at(at(t), Event::Intent(intent));
        journal.note_at(at(t + 900), Event::Done(Done { m, a: 1, ok: vec![r], ..Done::default() }));
        journal.note_at(at(t + 950), Event::Seen(Seen { m, r: Some(r), p: 0 }));
    }
    let end = messages * 1000 + 1_000_000;
    let survey = Survey { moment: Moment::Final, serving: vec![0] };
    journal.note_at(at(end), Event::Survey(survey));
    journal.note_at(at(end), Event::Read { p: 0 });
    for m in 0..messages {
        let r = Some((m % u64::from(PEOPLE)) as u32);
        journal.note_at(at(end), Event::Found(Found { m, r, p: 0, ..Found::default() }));
    }
    journal.note_at(at(end), Event::ReadEnd { p: 0, failed: None, foreign: 0 });
    journal.note_at(at(end), Event::SurveyEnd { moment: Moment::Final });
    journal.note_at(at(end), Event::End);
    drop(journal);
    writer.finish()?;
    Ok(())
}

fn begin() -> Begin {
    let place =
        |name: &str| Place { name: name.into(), role: 0, kind: PlaceKind::Mailbox, store: 0 };
    Begin {
        version: 1,
        run: format!("{:016x}", 7),
        scenario: "history".into(),
        title: "A run that never was".into(),
        at: "2026-01-01T00:00:00Z".into(),
        roles: vec!["primary".into()],
        recipients: (0..PEOPLE).map(|number| format!("u{number}@drill.test")).collect(),
        places: vec![place("primary store")],
        services: vec!["mail".into()],
        servers: vec!["primary".into()],
        ..Begin::default()
    }
}
