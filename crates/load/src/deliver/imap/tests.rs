//! Looks at a small IMAP server of the test's own, which breaks connections and says strange things when told to.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::deliver::What;
use crate::deliver::tests::{judge, ours};

/// A server with one folder.
struct Model {
    greeting: &'static str,
    capabilities: &'static str,
    messages: Mutex<Vec<(u32, String)>>,
    validity: AtomicU32,
    /// Whether the next FETCH breaks in the middle of its second message.
    is_breaking: AtomicBool,
}

impl Model {
    fn new(greeting: &'static str, capabilities: &'static str) -> Arc<Self> {
        Arc::new(Self {
            greeting,
            capabilities,
            messages: Mutex::new(vec![(3, "ours 1\r\n".into())]),
            validity: AtomicU32::new(9),
            is_breaking: AtomicBool::new(false),
        })
    }

    fn plain() -> Arc<Self> {
        Self::new("* OK hello", "IMAP4rev1 AUTH=PLAIN")
    }

    /// Serves until the test is over.
    async fn start(self: &Arc<Self>) -> Folder {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let model = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let model = Arc::clone(&model);
                tokio::spawn(async move { model.serve(stream).await });
            }
        });
        Folder {
            place: Place::parse(&format!("imap://ann@127.0.0.1:{port}/in%20\"box\"")).unwrap(),
            password: "sec\"ret".into(),
            tls: None,
            interval: Duration::from_millis(5),
        }
    }

    fn deliver(&self, text: &str) {
        let mut messages = self.messages.lock().unwrap();
        let uid = messages.last().map_or(1, |(uid, _)| uid + 7);
        messages.push((uid, text.replace('\n', "\r\n")));
    }

    async fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut stream = BufReader::new(stream);
        stream.write_all(format!("{}\r\n", self.greeting).as_bytes()).await.ok()?;
        let mut known = 0;
        loop {
            let line = line(&mut stream).await?;
            let (tag, command) = line.split_once(' ')?;
            let said = match command.split(' ').next()? {
                "CAPABILITY" => format!("* CAPABILITY {}\r\n", self.capabilities),
                "AUTHENTICATE" => {
                    stream.write_all(b"+ \r\n").await.ok()?;
                    if self::line(&mut stream).await? != "AGFubgBzZWMicmV0" {
                        stream.write_all(format!("{tag} NO who?\r\n").as_bytes()).await.ok()?;
                        continue;
                    }
                    String::new()
                }
                "LOGIN" if command == r#"LOGIN "ann" "sec\"ret""# => String::new(),
                "EXAMINE" if command == r#"EXAMINE "in \"box\"""# => {
                    let messages = self.messages.lock().unwrap();
                    known = messages.len();
                    let next = messages.last().map_or(1, |(uid, _)| uid + 1);
                    let validity = self.validity.load(Ordering::Relaxed);
                    format!(
                        "* {known} EXISTS\r\n* OK [UIDVALIDITY {validity}] it\r\n* OK [UIDNEXT {next}] it\r\n"
                    )
                }
                "LIST" => match command {
                    r#"LIST "" "in \"box\"""# => "* LIST () \".\" \"in \\\"box\\\"\"\r\n".into(),
                    r#"LIST "" "above""# => "* LIST (\\NoSelect) \".\" above\r\n".into(),
                    r#"LIST "" "gone""# => "* LIST (\\nonexistent) \".\" gone\r\n".into(),
                    _ => String::new(),
                },
                "NOOP" => {
                    let count = self.messages.lock().unwrap().len();
                    let is_more = std::mem::replace(&mut known, count) < count;
                    let exists =
                        if is_more { format!("* {count} EXISTS\r\n") } else { String::new() };
                    format!("* X-STRANGE (thing) %%\r\n{exists}")
                }
                "UID" => {
                    let since =
                        command.strip_prefix("UID FETCH ")?.split_once(":* (")?.0.parse().unwrap();
                    self.fetch(since, &mut stream).await?;
                    String::new()
                }
                "LOGOUT" => "* BYE bye\r\n".into(),
                _ => {
                    stream.write_all(format!("{tag} BAD what?\r\n").as_bytes()).await.ok()?;
                    continue;
                }
            };
            stream.write_all(format!("{said}{tag} OK done\r\n").as_bytes()).await.ok()?;
        }
    }

    async fn fetch(&self, since: u32, stream: &mut BufReader<TcpStream>) -> Option<()> {
        let is_breaking = self.is_breaking.swap(false, Ordering::Relaxed);
        let messages = self.messages.lock().unwrap().clone();
        let last = messages.len();
        for (number, (uid, text)) in (1..).zip(&messages) {
            if *uid < since && number < last {
                continue;
            }
            let is_cut = is_breaking && number == last;
            let bytes = if is_cut { text.len() + 1 } else { text.len() };
            let said =
                format!("* {number} FETCH (FLAGS () UID {uid} BODY[]<0> {{{bytes}}}\r\n{text}");
            stream.write_all(said.as_bytes()).await.ok()?;
            if is_cut {
                return None;
            }
            stream.write_all(b")\r\n* 1 FETCH (FLAGS (\\Seen))\r\n").await.ok()?;
        }
        Some(())
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|bytes| *bytes > 0)?;
    Some(line.trim_end().to_owned())
}

/// Takes so many; a minute is too long for any of them.
async fn take(watch: &mut Watch, count: usize) -> Vec<Seen> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let next = timeout(Duration::from_secs(60), watch.next()).await;
        seen.push(next.expect("nothing new for a minute").expect("it is over"));
    }
    seen
}

fn whats(seen: &[Seen]) -> Vec<What> {
    seen.iter().map(|seen| seen.what.clone()).collect()
}

#[tokio::test]
async fn what_comes_is_seen_once_and_not_what_was_there() {
    for (greeting, capabilities) in [
        ("* OK hello", "IMAP4rev1 AUTH=PLAIN"),
        ("* OK [CAPABILITY IMAP4rev1] hello", "IMAP4rev1"),
        ("* PREAUTH hello", ""),
    ] {
        let model = Model::new(greeting, capabilities);
        let mut watch = watch(model.start().await, judge()).await.unwrap();
        let before = Instant::now();
        model.deliver("ours 2\n");
        let seen = take(&mut watch, 1).await;
        assert_eq!(whats(&seen), [ours(2)], "{greeting}");
        assert!((before..=Instant::now()).contains(&seen[0].at));
        model.deliver("ours 3\n");
        model.deliver(&format!("ours 4\n{}", "x\n".repeat(200_000)));
        model.deliver("theirs\n");
        watch.stop();
        let seen = take(&mut watch, 3).await;
        let foreign = What::Message(crate::deliver::Judged::Foreign);
        assert_eq!(whats(&seen), [ours(3), ours(4), foreign]);
        assert_eq!(watch.next().await, None);
        let sight = watch.end().await.unwrap();
        assert_eq!((sight.breaks, sight.overflows), (0, 0));
        assert!(sight.slowest_look > Duration::ZERO);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_again_and_nothing_is_missed_or_seen_twice() {
    let model = Model::plain();
    let mut watch = watch(model.start().await, judge()).await.unwrap();
    model.is_breaking.store(true, Ordering::Relaxed);
    {
        // So that they are fetched together.
        let mut messages = model.messages.lock().unwrap();
        messages.extend((2..=4).map(|n: u32| (10 * n, format!("ours {n}\r\n"))));
    }
    assert_eq!(whats(&take(&mut watch, 3).await), [ours(2), ours(3), ours(4)]);
    watch.stop();
    assert_eq!(watch.next().await, None);
    assert_eq!(watch.end().await.unwrap().breaks, 1);
}

#[tokio::test]
async fn a_folder_that_is_another_one_ends_the_watch() {
    let model = Model::plain();
    let mut watch = watch(model.start().await, judge()).await.unwrap();
    model.validity.store(10, Ordering::Relaxed);
    model.is_breaking.store(true, Ordering::Relaxed);
    model.deliver("ours 2\n");
    let next = timeout(Duration::from_secs(60), watch.next()).await;
    assert_eq!(next.expect("it goes on"), None);
    let error = watch.end().await.unwrap_err().to_string();
    assert!(error.ends_with("the folder was made anew during the run"), "{error}");
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why() {
    for (greeting, capabilities, password, expected) in [
        (
            "* OK hello",
            "IMAP4rev1 AUTH=PLAIN",
            "wrong",
            "the server answered AUTHENTICATE with: who?",
        ),
        ("* OK hello", "IMAP4rev1", "wrong", "the server answered LOGIN with: what?"),
        (
            "* OK hello",
            "IMAP4rev1",
            "schön",
            "the password has characters that the server's LOGIN does not take",
        ),
        ("* BYE full", "", "", "the server answered the connection with: full"),
        ("220 mx ESMTP", "", "", "the server sent what is no answer: 220 mx ESMTP"),
    ] {
        let model = Model::new(greeting, capabilities);
        let folder = Folder { password: password.into(), ..model.start().await };
        let error = watch(folder, judge()).await.err().unwrap().to_string();
        let (place, reason) = error.split_once(": ").unwrap();
        assert!(place.starts_with("cannot watch in \"box\" of ann at 127.0.0.1"), "{error}");
        assert_eq!(reason, expected);
    }
}

#[tokio::test]
async fn a_reader_is_given_every_message_once_until_it_has_enough() {
    let model = Model::plain();
    model.deliver("ours 2\n");
    model.deliver("ours 3\n");
    let folder = model.start().await;
    let mut reader = Reader::log_in(&folder.place, &folder.password, None).await.unwrap();
    let opened = reader.examine(&folder.place.folder).await.unwrap();
    assert_eq!(opened, Opened { uid_validity: 9, uid_next: 18, exists: 3 });
    let mut all = Vec::new();
    let each = |message: Fetched<'_>| {
        all.push((message.uid, message.body.unwrap().to_vec()));
        true
    };
    reader.fetch(each).await.unwrap();
    let expected = [(3, "ours 1\r\n"), (10, "ours 2\r\n"), (17, "ours 3\r\n")];
    assert_eq!(all, expected.map(|(uid, text)| (uid, text.as_bytes().to_vec())));
    let mut count = 0;
    let each = |_: Fetched<'_>| {
        count += 1;
        count < 2
    };
    reader.fetch(each).await.unwrap();
    assert_eq!(count, 2);

    let mut reader = Reader::log_in(&folder.place, &folder.password, None).await.unwrap();
    for (name, expected) in [
        ("other", "the server answered EXAMINE with: what?"),
        (
            "a\r\nb",
            "the server sent what is no answer: the folder's name has characters that quotes do not take",
        ),
    ] {
        assert_eq!(reader.examine(name).await.unwrap_err().to_string(), expected);
    }
    let all = [folder.place.folder.as_str(), "above", "gone", "never"];
    for (name, expected) in all.into_iter().zip([true, false, false, false]) {
        assert_eq!(reader.has(name).await.unwrap(), expected, "{name}");
    }
    // The twin: a server that breaks off is told from one that has no more.
    reader.examine(&folder.place.folder).await.unwrap();
    model.is_breaking.store(true, Ordering::Relaxed);
    assert!(matches!(reader.fetch(|_| true).await, Err(ImapError::Io(_))));
}
