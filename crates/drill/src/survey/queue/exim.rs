//! Exim's spool (specification, "Format of spool files"): `ID-H` has the envelope and the header, `ID-D` the body, and
//! `ID-J`, while somebody works at it, who has got it since. All of them make one message.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::{Entry, Named, Waiting, failed, read_file, walk};

pub(super) fn files(dir: &Path) -> Result<Vec<Named>, String> {
    let input = dir.join("input");
    // A folder that is none would look like a queue in which nothing waits.
    fs::read_dir(&input).map_err(|e| failed(&input, &e))?;
    let mut files = Vec::new();
    walk(&input, SPLIT_DEPTH, &mut |name, path| {
        if let Some(id) = name.strip_suffix("-H") {
            files.push((id.to_owned(), path));
        }
    })?;
    Ok(files)
}

pub(super) fn read(path: &Path) -> Result<Entry, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let id = name.strip_suffix("-H").unwrap_or(&name);
    let file = |kind: &str| {
        let path = path.with_file_name(format!("{id}-{kind}"));
        match read_file(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed(&path, &e)),
        }
    };
    let (Some(head), Some(data)) = (file("H")?, file("D")?) else { return Ok(Entry::Gone) };
    let journal = file("J")?.unwrap_or_default();
    Ok(match parse(&head, &data, &journal) {
        Some(waiting) if !waiting.to.is_empty() => Entry::Waiting(waiting),
        _ => Entry::Nothing,
    })
}

/// `None`: it is no message of a spool.
pub(super) fn parse(head: &[u8], data: &[u8], journal: &[u8]) -> Option<Waiting> {
    let mut lines = Lines(head);
    lines.next()?.strip_suffix("-H")?;
    let _owner = lines.next()?;
    let from = lines.next()?.strip_prefix('<')?.strip_suffix('>')?.to_owned();
    let _time = lines.next()?;
    let mut line = lines.next()?;
    while line.starts_with('-') {
        line = lines.next()?;
    }
    let mut done: HashSet<String> =
        String::from_utf8_lossy(journal).split('\n').map(str::to_owned).collect();
    if line != "XX" {
        // A tree: each node says whether another one is at its left and at its right.
        let mut nodes = 1_usize;
        loop {
            let (sides, address) = line.split_once(' ')?;
            nodes += sides.bytes().filter(|side| *side == b'Y').count();
            done.insert(address.to_owned());
            nodes -= 1;
            if nodes == 0 {
                break;
            }
            line = lines.next()?;
        }
    }
    let count: usize = lines.next()?.parse().ok()?;
    let mut to = Vec::new();
    for _ in 0..count {
        // What follows the address says more of it.
        let line = lines.next()?;
        let address = line.split(' ').next()?.to_owned();
        if !done.contains(&address) {
            to.push(address);
        }
    }
    let mut message = Vec::new();
    if !lines.next()?.is_empty() {
        return None;
    }
    let mut rest = lines.0;
    while !rest.is_empty() {
        // `NNNX text`: the length of the text, and what it is; `*`: it was taken away.
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let length: usize = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        let kind = *rest.get(digits)?;
        let start = digits + 2;
        let text = rest.get(start..start.checked_add(length)?)?;
        if kind != b'*' {
            message.extend_from_slice(text);
        }
        rest = &rest[start + length..];
    }
    message.push(b'\n');
    let body = data.iter().position(|byte| *byte == b'\n')? + 1;
    message.extend_from_slice(&data[body..]);
    Some(Waiting { from, to, message })
}

struct Lines<'b>(&'b [u8]);

impl Lines<'_> {
    fn next(&mut self) -> Option<String> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        Some(String::from_utf8_lossy(line).into_owned())
    }
}

/// `split_spool_directory` has one level.
const SPLIT_DEPTH: u32 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "1abCDe-000001-Ab-H\nexim 5001 5001\n<s@drill.test>\n1700000000 0\n-received_time_usec .1\n\
        --tls_resumption A\n-local\nYN had@drill.test\nNN before@drill.test\n4\na@drill.test\nb@drill.test 0,-1#01\n\
        had@drill.test\nsince@drill.test\n\n011  Subject: x\n006* Old: \n007F From: \n";

    #[test]
    fn who_is_still_to_get_it_and_what() {
        let data = b"1abCDe-000001-Ab-D\nbody\nmore\n";
        let waiting = parse(HEAD.as_bytes(), data, b"since@drill.test\n").unwrap();
        assert_eq!((waiting.from.as_str(), waiting.to.len()), ("s@drill.test", 2));
        assert_eq!(waiting.to, ["a@drill.test", "b@drill.test"]);
        assert_eq!(waiting.message, b"Subject: x\nFrom: \n\nbody\nmore\n");
        assert_eq!(parse(HEAD.as_bytes(), data, b"").unwrap().to.len(), 3);
        let nobody = HEAD.replace("YN had@drill.test\nNN before@drill.test", "XX");
        assert_eq!(parse(nobody.as_bytes(), data, b"").unwrap().to.len(), 4);
        assert!(parse(b"", data, b"").is_none() && parse(HEAD.as_bytes(), b"", b"").is_none());
    }

    proptest! {
        #[test]
        fn nothing_that_lies_there_takes_it_down(cut in 0_usize..400, bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let head = [&HEAD.as_bytes()[..cut.min(HEAD.len())], &bytes].concat();
            let _ = parse(&head, b"x-D\nbody", &bytes);
        }
    }
}
