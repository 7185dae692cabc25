//! The checks. A test of the binary includes this file as it is, so it uses nothing but the
//! project's crates and what they use.

use std::io::BufReader;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use drill::journal::{Begin, Event, Line as JournalLine, Reader};
use drill::judge::Judge;
use drill::proxy::{Act, At, Flaw, Rule, through};
use load::hlog::{self, Facts, Writer};
use load::plan::{Plan, Profile, Trace};
use maildir::Uidlist;
use smtp::server::{Command, LINE_BYTES, Line, Lines, parse};
use smtp::{Address, ReplyParser, TERMINATOR, Unstuffer, proxy, stuff};
use snapshot::catalog::{self as catalogs, CatalogHead, Need};
use snapshot::contents;
use snapshot::crypt::{Seal, Unseal};
use snapshot::layout::{catalog_name, decode_name, encode_name, mailbox_prefix, snapshot_key};
use snapshot::manifest::Manifest;
use snapshot::object::ObjectRef;
use snapshot::store::memory::Memory;
use snapshot::store::{Body, Store};

/// UIDs rise and stay below the next one, names are file names, and what is written reads the same.
pub fn uidlist(bytes: &[u8]) {
    let Some(list) = Uidlist::parse(bytes) else { return };
    assert_ne!(list.uid_validity, 0);
    assert!(list.records.iter().all(|record| record.uid > 0));
    assert!(list.records.is_sorted_by(|a, b| a.uid < b.uid));
    let last = list.records.last().map_or(0, |record| record.uid);
    assert!(list.next_uid > last || last == u32::MAX);
    for record in &list.records {
        assert!(!record.base().is_empty());
        assert!(!record.name.iter().any(|byte| [b'/', b'\n', 0].contains(byte)));
    }
    let written = list.encode();
    let again = Uidlist::parse(&written).expect("what is written has a header");
    assert_eq!(again.broken_lines, 0, "{list:?}");
    assert_eq!(
        (again.uid_validity, again.next_uid, again.guid),
        (list.uid_validity, list.next_uid, list.guid)
    );
    let records = |list: &Uidlist<'_>| -> Vec<(u32, Vec<u8>, Vec<u8>)> {
        let own = |bytes: &[u8]| bytes.to_vec();
        list.records.iter().map(|r| (r.uid, own(r.fields), own(r.base()))).collect()
    };
    assert_eq!(records(&again), records(&list));
}

/// A name is its base and what follows; the base outlives other flags; and the repository's way of
/// writing names agrees.
pub fn base_name(name: &[u8]) {
    let base = maildir::base_name(name);
    assert!(name.starts_with(base));
    assert_eq!(base.is_empty(), name.is_empty());
    assert_eq!(maildir::base_name(base), base);
    let rest = &name[base.len()..];
    let flags = maildir::flags(name);
    assert!(rest.ends_with(flags));
    if !flags.is_empty() {
        assert_eq!([b":2,", flags].concat(), rest);
    }
    if !base.starts_with(b":") && !base.is_empty() {
        for flags in ["", ":2,", ":2,FS", ":1,x", ":2,a,b:c"] {
            let renamed = [base, flags.as_bytes()].concat();
            assert_eq!(maildir::base_name(&renamed), base);
        }
    }
    if maildir::is_unique_name(base) {
        assert!(base[0].is_ascii_digit() && base.contains(&b'.'));
    }
    let encoded = encode_name(name);
    assert_eq!(decode_name(&encoded).as_deref(), Some(name));
    if !name.contains(&b'/') && !name.is_empty() {
        let key = format!("cur/{encoded}");
        assert_eq!(catalogs::message_key(&key), encode_name(base));
    }
}

/// A catalog on its parent, of which only the lines are the fuzzer's: before the first zero byte the
/// parent's. With an odd first byte, the rest stands for a whole catalog as it is.
pub fn catalog(bytes: &[u8]) {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    if mode % 2 == 1 {
        let _ = catalogs::decode_head("x", MAILBOX, bytes);
        read(&Memory::default(), Body::from_bytes(bytes.to_vec()));
        return;
    }
    let store = Memory::default();
    let parts: Vec<&[u8]> = bytes.splitn(2, |byte| *byte == 0).collect();
    let [parents, lines] = parts[..] else {
        return read(&store, encode(None, Vec::new(), bytes));
    };
    let parent = encode(None, Vec::new(), parents);
    let reference = serde_json::to_value(ObjectRef::of(&parent)).expect("it is plain data");
    let mut need = serde_json::json!({"object": catalog_name(PARENT)});
    need.as_object_mut().into_iter().for_each(|need| {
        need.extend(reference.as_object().cloned().unwrap_or_default());
    });
    let need = serde_json::from_value(need).expect("an object's name, size and hash are enough");
    put(&store, PARENT, parent);
    read(&store, encode(Some(PARENT.to_owned()), vec![need], lines));
}

fn encode(parent: Option<String>, needs: Vec<Need>, lines: &[u8]) -> Body {
    let head = CatalogHead { catalog: catalogs::VERSION, mailbox: MAILBOX.into(), parent, needs };
    catalogs::encode(&head, lines, 1, &Seal::Plain).expect("writing to memory succeeds")
}

fn put(store: &Memory, id: &str, body: Body) {
    let key = format!("{}{}", mailbox_prefix(MAILBOX), catalog_name(id));
    store.put(&key, body).expect("memory takes it");
}

/// Reads a catalog, and looks at all that it holds.
fn read(store: &Memory, body: Body) {
    let reference = ObjectRef::of(&body);
    put(store, CATALOG, body);
    let read = catalogs::read(store, MAILBOX, CATALOG, &reference, &Unseal::Plain);
    let Ok((_, held)) = read else { return };
    for row in contents::folders(&held) {
        assert!(row.new <= row.messages);
    }
    for path in held.folders.keys() {
        if let Ok(rows) = contents::messages(&held, path) {
            assert!(!rows.is_empty() || held.folders.values().any(|f| f.messages.is_empty()));
        }
    }
}

/// As it is, and as JSON that is compressed first. What decodes is written and read the same.
pub fn manifest(bytes: &[u8]) {
    let _ = Manifest::decode("snapshots/x.json.zst", bytes);
    let id = serde_json::from_slice::<serde_json::Value>(bytes)
        .ok()
        .and_then(|json| json["id"].as_str().map(str::to_owned));
    let Some(id) = id else { return };
    let packed = zstd::bulk::compress(bytes, 1).expect("memory takes it");
    let Ok(manifest) = Manifest::decode(&snapshot_key(&id), &packed) else { return };
    let written = manifest.encode().expect("memory takes it");
    let snapshot::store::Data::Memory(written) = written.data else { return };
    let again = Manifest::decode(&snapshot_key(&id), &written).expect("it was written just now");
    assert_eq!(again, manifest);
}

const MAILBOX: &str = "77ddc55db8eacd5fcdd8ff8a156c6138";
const PARENT: &str = "20261121T205944650Z-3768b1cb";
const CATALOG: &str = "20261121T205946650Z-ea2f1230";

/// The first byte says how long the pieces are that the rest comes in.
fn pieces(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (first, rest) = bytes.split_first()?;
    Some((rest, usize::from(*first) + 1))
}

/// Pieces of any size give what the whole gives; a reply has a code, and its text steers no terminal.
pub fn reply(bytes: &[u8]) {
    let Some((wire, piece_bytes)) = pieces(bytes) else { return };
    let read = |piece_bytes: usize| {
        let (mut parser, mut buffer, mut replies) =
            (ReplyParser::default(), Vec::new(), Vec::new());
        for piece in wire.chunks(piece_bytes) {
            buffer.extend_from_slice(piece);
            loop {
                match parser.parse(&buffer) {
                    Ok(Some((reply, length))) => {
                        assert!((1..=buffer.len()).contains(&length));
                        buffer.drain(..length);
                        replies.push(reply);
                    }
                    Ok(None) => break,
                    Err(bad) => return (replies, Some(bad)),
                }
            }
        }
        (replies, None)
    };
    let (replies, bad) = read(wire.len().max(1));
    let (in_pieces, bad_in_pieces) = read(piece_bytes);
    assert_eq!((&replies, bad.is_some()), (&in_pieces, bad_in_pieces.is_some()));
    for reply in replies {
        assert!((200..600).contains(&reply.code));
        assert!(!reply.text.chars().any(|c| c.is_control() && c != '\n'));
        assert!(!reply.to_string().contains('\n'));
    }
}

/// A line has its bounds; a command's address is one address, and reads the same again.
pub fn command(bytes: &[u8]) {
    let Some((wire, piece_bytes)) = pieces(bytes) else { return };
    let _ = proxy::parse(wire);
    let (mut lines, mut buffer) = (Lines::default(), Vec::new());
    for piece in wire.chunks(piece_bytes) {
        buffer.extend_from_slice(piece);
        while let Some((line, length)) = lines.next(&mut buffer) {
            if let Line::Whole(line) = line {
                assert!(
                    line.len() < LINE_BYTES && !line.contains(&b'\n') && !line.contains(&b'\r')
                );
                obey(line);
            }
            buffer.drain(..length);
        }
        assert!(buffer.len() <= LINE_BYTES);
    }
}

fn obey(line: &[u8]) {
    let Ok(Command::Mail(Some(address), _) | Command::Rcpt(address)) = parse(line) else { return };
    let text = address.to_string();
    assert!(!text.chars().any(char::is_control));
    assert_eq!(Address::parse(&text), Ok(address));
    let said = parse(format!("RCPT TO:<{text}>").as_bytes());
    assert!(matches!(said, Ok(Command::Rcpt(again)) if again.as_str() == text));
}

/// Only one thing ends a message, wherever the pieces end; and what is stuffed is the same without.
pub fn unstuff(bytes: &[u8]) {
    let Some((wire, piece_bytes)) = pieces(bytes) else { return };
    let read = |wire: &[u8], piece_bytes: usize| {
        let (mut unstuffer, mut body, mut at) = (Unstuffer::default(), Vec::new(), 0);
        for piece in wire.chunks(piece_bytes) {
            if let Some(used) = unstuffer.feed(piece, &mut body) {
                return (body, Some(at + used), unstuffer.has_bare_line_end());
            }
            at += piece.len();
        }
        (body, None, unstuffer.has_bare_line_end())
    };
    let (body, end, has_bare) = read(wire, wire.len().max(1));
    let (in_pieces, end_in_pieces, has_bare_in_pieces) = read(wire, piece_bytes);
    assert_eq!((end, has_bare), (end_in_pieces, has_bare_in_pieces));
    if let Some(end) = end {
        assert_eq!(body, in_pieces);
        assert!(&wire[..end] == TERMINATOR || wire[..end].ends_with(b"\r\n.\r\n"));
    }
    let mut stuffed = Vec::new();
    stuff(wire, &mut stuffed);
    stuffed.extend_from_slice(TERMINATOR);
    let (unstuffed, end, _) = read(&stuffed, piece_bytes);
    assert_eq!(end, Some(stuffed.len()));
    assert!(unstuffed == wire || unstuffed == [wire, b"\r\n"].concat());
}

/// What a mail log shows is in order of time, and makes a plan of as many arrivals.
pub fn mail_log(bytes: &[u8]) {
    let Ok(trace) = Trace::read(bytes) else { return };
    assert!(!trace.arrivals.is_empty());
    assert!(trace.arrivals.is_sorted_by_key(|arrival| arrival.at));
    assert!(trace.arrivals.iter().all(|arrival| arrival.recipients > 0));
    let trace = Arc::new(trace);
    let Ok(plan) = Plan::of_trace(Arc::clone(&trace), 1.0) else { return };
    assert_eq!(plan.arrivals().count(), trace.arrivals.len());
}

/// What is read of a log of histograms is what is read of it when it is written again.
pub fn histogram_log(bytes: &[u8]) {
    let Ok(log) = hlog::read(bytes) else { return };
    let facts = Facts { plan: "p".into(), shard: 0, shards: 1, run: "r".into() };
    let Ok(mut writer) = Writer::new(Vec::new(), &facts, SystemTime::UNIX_EPOCH) else { return };
    let second = Duration::from_secs(1);
    let measures = log.measures();
    writer.interval(Duration::ZERO, second, false, &measures).expect("memory takes it");
    let again = hlog::read(writer.into_inner().as_slice()).expect("what is written is read");
    for kind in load::measure::Kind::ALL {
        assert_eq!(again.measures().summary(kind), measures.summary(kind));
    }
}

/// The arrivals of a profile's plan come in order, and none after its end.
pub fn profile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(profile) = Profile::parse("fuzz.toml", text) else { return };
    let Ok(plan) = profile.plan(1) else { return };
    let (mut last, end) = (Duration::ZERO, plan.duration());
    for (number, arrival) in plan.arrivals().take(1000).enumerate() {
        assert_eq!(arrival.index, number as u64);
        assert!(last <= arrival.at && arrival.at <= end, "{arrival:?}");
        last = arrival.at;
    }
}

/// A scenario that loads loads again as it was written down, and needs none of its variables any more.
pub fn scenario(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(loaded) = drill::scenario::load("fuzz.toml", text, &[]) else { return };
    // No value has `${` in it, but one may end where the text goes on with a brace.
    if loaded.scenario.variables.values().any(|value| value.ends_with('$')) {
        return;
    }
    let written = toml::to_string(&loaded.tree).expect("it was TOML");
    let again = drill::scenario::load("fuzz.toml", &written, &[]).expect("it loaded before");
    assert_eq!(again, loaded);
}

/// A journal that is read twice, however its bytes come, has the same events; those make a verdict, which is the same
/// again. Then its lines without their chain, which a fuzzer cannot make.
pub fn drill_journal(bytes: &[u8]) {
    let Some((wire, piece_bytes)) = pieces(bytes) else { return };
    let read = |capacity: usize| {
        let mut reader = Reader::new(BufReader::with_capacity(capacity, wire));
        let mut events = Vec::new();
        let is_good = loop {
            match reader.next_event() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        assert!(reader.position().0 <= wire.len() as u64);
        (events, is_good, reader.is_cut())
    };
    let whole = read(wire.len().max(1));
    assert_eq!(whole, read(piece_bytes));
    judge(&whole.0);
    let lines = wire.split(|byte| *byte == b'\n').take(1000);
    let lines: Vec<(u64, Event)> = lines
        .filter_map(|line| serde_json::from_slice::<JournalLine<'_>>(line).ok())
        .map(|line| (line.t, line.e))
        .collect();
    for (t, e) in &lines {
        let written = serde_json::to_vec(&JournalLine { prev: "", t: *t, e: e.clone() });
        let written = written.expect("it is plain data");
        let again: JournalLine<'_> = serde_json::from_slice(&written).expect("it was written so");
        assert_eq!((again.t, &again.e), (*t, e));
    }
    judge(&lines);
}

/// A verdict after each event, as a page that shows a run has it, and the same of all at once.
fn judge(events: &[(u64, Event)]) {
    let begin = events.iter().find_map(|(_, event)| match event {
        Event::Begin(begin) => Some((**begin).clone()),
        _ => None,
    });
    let begin = begin.unwrap_or_else(|| Begin {
        recipients: vec!["a@drill.test".into(), "b@drill.test".into()],
        services: vec!["mail".into(), "x".into()],
        ..Begin::default()
    });
    let (mut judge, mut again) = (Judge::new(&begin), Judge::new(&begin));
    for (at, (t_us, event)) in events.iter().enumerate() {
        judge.take(*t_us, event);
        again.take(*t_us, event);
        if at < 20 {
            judge.result();
        }
    }
    let result = judge.result();
    let messages = &result.messages;
    assert_eq!(messages.by_class.values().sum::<u64>(), messages.sent);
    assert!(messages.accepted <= messages.sent);
    assert_eq!(format!("{result:?}"), format!("{:?}", again.result()));
}

/// The first byte says whose file it is: Postfix's, or Exim's three with a zero byte between them. What is read is no
/// longer than what lies there, and whoever has got it is not to get it again.
pub fn queue_file(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    if kind % 2 == 0 {
        let Some((from, to, message)) = drill::postfix_file(bytes) else { return };
        let lossy = 3 * bytes.len();
        assert!(from.len() <= lossy && to.iter().map(String::len).sum::<usize>() <= lossy);
        assert!(message.len() <= bytes.len() && to.len() <= bytes.len());
        return;
    }
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let [head, data, journal] = [(); 3].map(|()| parts.next().unwrap_or_default());
    let Some((_, to, message)) = drill::exim_files(head, data, journal) else { return };
    assert!(message.len() <= head.len() + data.len() + 1);
    let all = format!("{}\n{}\n", String::from_utf8_lossy(journal), to.join("\n"));
    let Some((_, nobody, same)) = drill::exim_files(head, data, all.as_bytes()) else {
        panic!("who has got it changes nothing about the files");
    };
    assert!(nobody.is_empty());
    assert_eq!(same, message);
}

/// Without a rule both sides get what the other one said, in whatever pieces. With one of a few the server is told what
/// the client said or less, and the proxy comes to an end unless it is to wait. A zero byte is between the two sides.
pub fn proxy_dialogue(bytes: &[u8]) {
    let Some(([rule, first, second], bytes)) = bytes.split_first_chunk() else { return };
    let cuts = [usize::from(*first) + 1, usize::from(*second) + 1, 3];
    let at = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (client, server) = (&bytes[..at], bytes.get(at + 1..).unwrap_or_default());
    let passed = through(Vec::new(), client, server, &cuts);
    assert!(passed.is_over && passed.ended.is_none());
    assert!(passed.to_server == client && passed.to_client == server);
    let (at, act) = match rule % 12 {
        0 => (At::Mail, Act::Cut),
        1 => (At::End, Act::CutAfter),
        2 => (At::Data, Act::CutInTheMiddle),
        3 => (At::End, Act::Reply("451 4.3.0 later".into())),
        4 => (At::Connect, Act::Reply("220 x".into())),
        5 => (At::Rcpt, Act::Reply("450 4.2.0 later".into())),
        6 => (At::Ehlo, Act::StripStartTls),
        7 => (At::End, Act::CutInTheMiddle),
        8 => (At::Data, Act::Reply("421 4.3.2 no".into())),
        9 => (At::Auth, Act::HoldForEver),
        10 => (At::Body, Act::Reset),
        _ => (At::StartTls, Act::PresentCertificate(Flaw::Expired)),
    };
    let waits = matches!(act, Act::HoldForEver | Act::PresentCertificate(_));
    let rule = Rule::new(at, act);
    assert_eq!(rule.check(), Ok(()));
    let broken = through(vec![rule], client, server, &cuts);
    assert!(broken.is_over || waits);
    assert!(is_less(&broken.to_server, client));
}

/// Whether it is the other with nothing added.
fn is_less(some: &[u8], all: &[u8]) -> bool {
    let mut all = all.iter();
    some.iter().all(|byte| all.any(|other| other == byte))
}
