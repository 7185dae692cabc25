//! Messages from the administrator's own mail: a Maildir or a folder of .eml files becomes templates. Their header
//! loses what a run writes itself, and whatever would make servers answer to people who take no part in it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use load::letters::{Template, fields, is_own, name};
use walkdir::WalkDir;

/// What was found in a folder.
#[derive(Debug)]
pub(crate) struct Corpus {
    /// One for each message that is used, all of the same weight.
    pub(crate) templates: Vec<(f64, Template)>,
    /// Files that could be messages.
    pub(crate) files: u64,
    /// Size of the templates in bytes.
    pub(crate) bytes: u64,
    /// Files that could not be used.
    pub(crate) skipped: u64,
    /// The first of those, with the reason.
    pub(crate) problems: Vec<String>,
}

/// Reads the messages below a folder; of more than 512 so many, evenly from all of them in the order of their names.
pub(crate) fn corpus(dir: &Path) -> Result<Corpus> {
    let mut corpus =
        Corpus { templates: Vec::new(), files: 0, bytes: 0, skipped: 0, problems: Vec::new() };
    let paths = corpus.list(dir)?;
    corpus.files = paths.len() as u64;
    let used = paths.len().min(MOST);
    for number in 0..used {
        let path = &paths[number * paths.len() / used];
        if corpus.bytes >= MOST_BYTES {
            break;
        }
        match read(path, MOST_BYTES - corpus.bytes) {
            Ok(template) => {
                corpus.bytes += template.size_bytes();
                corpus.templates.push((1.0, template));
            }
            Err(error) => corpus.skip(format!("{}: {error:#}", path.display())),
        }
    }
    if corpus.templates.is_empty() {
        let problem = corpus.problems.first().map_or("it has no files", String::as_str);
        bail!("{} has no message that could be used: {problem}", dir.display());
    }
    Ok(corpus)
}

impl Corpus {
    /// The files that could be messages, in the order of their names.
    fn list(&mut self, dir: &Path) -> Result<Vec<PathBuf>> {
        let reading = || format!("reading the corpus {}", dir.display());
        std::fs::read_dir(dir).with_context(reading)?;
        let mut paths = Vec::new();
        let entries = WalkDir::new(dir).sort_by_file_name().into_iter();
        for entry in entries.filter_entry(|entry| entry.depth() == 0 || is_mail(entry.file_name()))
        {
            match entry {
                Ok(entry) if entry.file_type().is_file() => paths.push(entry.into_path()),
                Ok(_) => {}
                Err(error) => self.skip(error.to_string()),
            }
            if paths.len() == MOST_LISTED {
                break;
            }
        }
        Ok(paths)
    }

    fn skip(&mut self, problem: String) {
        self.skipped += 1;
        if self.problems.len() < PROBLEMS {
            self.problems.push(problem);
        }
    }
}

/// Not what servers keep beside the messages. A folder of Maildir++ begins with a dot.
fn is_mail(name: &std::ffi::OsStr) -> bool {
    let name = name.as_encoded_bytes();
    let others: [&[u8]; 3] = [b"tmp", b"maildirfolder", b"subscriptions"];
    !others.contains(&name) && !name.starts_with(b"dovecot") && !name.starts_with(b".dovecot")
}

fn read(path: &Path, most_bytes: u64) -> Result<Template> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most_bytes {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, TOO_LARGE).into());
    }
    let content = content(&bytes).context("it does not begin with a header")?;
    if content.len() as u64 > most_bytes {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, TOO_LARGE).into());
    }
    Ok(Template::new(&content)?)
}

/// What stands below our own head: the fields that stay, an empty line, the body. `None` without any field.
fn content(message: &[u8]) -> Option<Vec<u8>> {
    let mut lines = Vec::with_capacity(message.len() + message.len() / 16);
    with_crlf(message, &mut lines);
    let lines = match lines.starts_with(b"From ") {
        // The separator of an mbox.
        true => &lines[lines.iter().position(|byte| *byte == b'\n')? + 1..],
        false => &lines[..],
    };
    let end = match lines.starts_with(b"\r\n") {
        true => 0,
        false => {
            lines.windows(4).position(|four| four == b"\r\n\r\n").map_or(lines.len(), |at| at + 2)
        }
    };
    let (header, body) = lines.split_at(end);
    if !fields(header).any(is_field) {
        return None;
    }
    let mut content = Vec::with_capacity(lines.len());
    for field in fields(header).filter(|field| is_field(field) && !is_own(name(field))) {
        content.extend_from_slice(field);
    }
    // A message may be all header.
    content.extend_from_slice(if body.is_empty() { b"\r\n" } else { body });
    Some(content)
}

fn is_field(field: &[u8]) -> bool {
    let name = name(field);
    !name.is_empty() && name.iter().all(|byte| matches!(byte, b'!'..=b'~'))
}

/// Every line ended by CR LF; a CR elsewhere stays.
fn with_crlf(bytes: &[u8], out: &mut Vec<u8>) {
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        out.extend_from_slice(b"\r\n");
    }
}

const TOO_LARGE: &str = "it does not fit into the 256 MiB that a corpus may have";

/// As many as a run takes.
const MOST: usize = 512;
const MOST_BYTES: u64 = 256 << 20;
const MOST_LISTED: usize = 1_000_000;
const PROBLEMS: usize = 10;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn raw(corpus: &Corpus) -> Vec<String> {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        corpus.templates.iter().map(|(_, template)| text(template.content().raw())).collect()
    }

    #[test]
    fn a_message_keeps_what_a_run_does_not_write() {
        let long = "x".repeat(2000);
        for (message, expected) in [
            ("Subject: a\n\nbody\n", "Subject: a\r\n\r\nbody\r\n".to_owned()),
            ("Subject: a\r\n\r\nbody\r\n", "Subject: a\r\n\r\nbody\r\n".into()),
            (
                "Date: x\nsubject: a\n b\nTO: c,\n\td\nX: y\n\nb",
                "subject: a\r\n b\r\nX: y\r\n\r\nb\r\n".into(),
            ),
            ("From a@b now\nReceived: by x\nX: y\n\n", "X: y\r\n\r\n".into()),
            ("Received: by x\n", "\r\n".into()),
            ("X: y\nno field\n\n\0\n.\n", "X: y\r\n\r\n\0\r\n.\r\n".into()),
            (" no field\nX: y\n\nb\rc\n", "X: y\r\n\r\nb\rc\r\n".into()),
            (&format!("X: y\n\n{long}\n"), format!("X: y\r\n\r\n{long}\r\n")),
        ] {
            let made = content(message.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(made.clone()).unwrap(), expected, "{message:?}");
            Template::new(&made).unwrap();
        }
        for message in ["", "\n", "\nX: y\n\n", "\0\u{1}binary", "text\nwithout fields"] {
            assert_eq!(content(message.as_bytes()), None, "{message:?}");
        }
    }

    #[test]
    fn a_folder_gives_its_messages_and_tells_what_is_none() {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("Maildir/cur/1:2,S", "Subject: 1\n\n"),
            ("Maildir/.Sent/new/2", "Subject: 2\n\n"),
            ("Maildir/tmp/3", "Subject: 3\n\n"),
            ("Maildir/dovecot-uidlist", "3 V1 N1\n"),
            ("x.eml", "Subject: 4\r\n\r\n"),
            ("y.bin", "\u{1}\u{2}"),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        let found = corpus(dir.path()).unwrap();
        let expected = ["Subject: 2\r\n\r\n", "Subject: 1\r\n\r\n", "Subject: 4\r\n\r\n"];
        assert_eq!(raw(&found), expected);
        assert_eq!((found.files, found.skipped, found.bytes), (4, 1, 42));
        assert!(found.problems[0].ends_with("y.bin: it does not begin with a header"), "{found:?}");
    }

    #[test]
    fn of_many_messages_some_are_taken_from_everywhere() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..1024 {
            let text = format!("Subject: {number}\n\n");
            fs::write(dir.path().join(format!("{number:04}")), text).unwrap();
        }
        let found = corpus(dir.path()).unwrap();
        assert_eq!((found.files, found.templates.len()), (1024, 512));
        assert_eq!(raw(&found)[511], "Subject: 1022\r\n\r\n");
    }

    #[test]
    fn a_folder_without_messages_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = |path: &Path| format!("{:#}", corpus(path).unwrap_err());
        assert!(error(dir.path()).contains("could be used: it has no files"));
        fs::write(dir.path().join("a"), "\n").unwrap();
        assert!(error(dir.path()).contains("a: it does not begin with a header"));
        let none = dir.path().join("none");
        assert!(error(&none).contains("none: No such file"), "{}", error(&none));
    }
}
