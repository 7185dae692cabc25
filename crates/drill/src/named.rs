//! Which hosts the text of a scenario names: one that is protected, wherever it stands, and those that commands talk to, as far
//! as a command shows it. What a script does with a name that it makes up nobody can read.

use std::collections::BTreeSet;

use toml::Value;

/// Parts that people read, and that nothing connects to: whom messages are for says nothing of where they go.
const FOR_PEOPLE: [&str; 8] = [
    "version",
    "title",
    "description",
    "objectives",
    "traffic",
    "report",
    "protected",
    "variables",
];

/// Texts within a part that are no place: what is asked for, and what a person is told.
const WORDS: [&str; 4] = ["name", "is", "prompt", "who"];

/// A text of a scenario with the keys above it, the nearest one last.
fn each<'t>(tree: &'t Value, path: &mut Vec<&'t str>, take: &mut dyn FnMut(&[&str], &'t Value)) {
    if let (Value::String(_), [.., parent, key]) = (tree, path.as_slice())
        && WORDS.contains(key)
        && !["env", "files"].contains(parent)
    {
        return;
    }
    take(path, tree);
    match tree {
        Value::Array(all) => all.iter().for_each(|one| each(one, path, take)),
        Value::Table(table) => {
            let is_meant = |key: &str| !path.is_empty() || !FOR_PEOPLE.contains(&key);
            let meant: Vec<_> = table.iter().filter(|(key, _)| is_meant(key)).collect();
            for (key, value) in meant {
                path.push(key);
                each(value, path, take);
                path.pop();
            }
        }
        _ => {}
    }
}

/// The first protected host that a whole scenario names; also in files, from which a server may connect to it.
pub(crate) fn protected_in<'p>(tree: &Value, protected: &'p [String]) -> Option<&'p String> {
    first(tree, &mut Vec::new(), protected)
}

/// The same of a step, when all that it says is known.
pub(crate) fn protected_in_step<'p>(step: &Value, protected: &'p [String]) -> Option<&'p String> {
    first(step, &mut vec!["steps"], protected)
}

fn first<'t, 'p>(
    tree: &'t Value,
    path: &mut Vec<&'t str>,
    protected: &'p [String],
) -> Option<&'p String> {
    let mut found = None;
    each(tree, path, &mut |_, value| {
        if let (Value::String(text), None) = (value, found) {
            found = protected.iter().find(|host| names(text, host));
        }
    });
    found
}

/// Whether a text has the name or address of a host in it, and not only as a part of another one.
fn names(text: &str, host: &str) -> bool {
    let (text, host) = (text.to_ascii_lowercase(), host.trim_end_matches('.').to_ascii_lowercase());
    let is_v6 = host.contains(':');
    let goes_on = |c: char| c.is_alphanumeric() || "-_".contains(c) || (is_v6 && c == ':');
    !host.is_empty()
        && text.match_indices(&host).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let mut after = text[at + host.len()..].chars();
            let goes_on_after = match after.next() {
                Some('.') => after.next().is_some_and(goes_on),
                next => next.is_some_and(goes_on),
            };
            !goes_on_after && !before.is_some_and(|c| goes_on(c) || c == '.')
        })
}

/// Hosts of commands, and of URLs that stand alone, of a whole scenario.
pub(crate) fn hosts(tree: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    each(tree, &mut Vec::new(), &mut |path, value| match value {
        _ if path.starts_with(&["lab", "files"]) => {}
        Value::String(text) => found.extend(of_command(&[text], false)),
        Value::Array(all) => {
            let words: Vec<&str> = all.iter().filter_map(Value::as_str).collect();
            let is_ours = path.last() == Some(&"mailrig") || words.first() == Some(&"mailrig");
            found.extend(of_command(&words, is_ours));
        }
        _ => {}
    });
    // Where it is then stands beside it.
    let env = tree.get("env").and_then(Value::as_table);
    let is_elsewhere =
        env.is_some_and(|env| env.keys().any(|name| name.starts_with("AWS_ENDPOINT_URL")));
    found.retain(|host| !(is_elsewhere && host.starts_with(BUCKET)));
    found
}

/// A bucket is nobody's host, and somebody's all the same.
const BUCKET: &str = "s3://";

/// A shell's script is read like a command: what stands in quotes, too.
fn of_command(words: &[&str], is_ours: bool) -> Vec<String> {
    let apart = |word: &&str| word.replace([';', '|', '&', '(', ')'], " ; ");
    let line = words.iter().map(apart).collect::<Vec<_>>().join(" ");
    let tokens: Vec<&str> =
        line.split_whitespace().map(|token| token.trim_matches(['\'', '"', '`'])).collect();
    let mut found = Vec::new();
    let (mut at, mut is_copy) = (0, false);
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.rsplit('/').next().unwrap_or_default() {
            ";" => is_copy = false,
            "ssh" | "sftp" if !is_copy => found.extend(of_ssh(&tokens, &mut at)),
            "scp" | "rsync" => is_copy = true,
            _ if is_copy && !token.starts_with('-') => found.extend(of_copy(token)),
            _ => {}
        }
        found.extend(of_token(token, is_ours));
    }
    found
}

/// Whom ssh(1) connects to, and over whom.
fn of_ssh(tokens: &[&str], at: &mut usize) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(token) = tokens.get(*at) {
        *at += 1;
        let Some(option) = token.strip_prefix('-') else {
            if *token != ";" {
                found.push(without_user(token.trim_start_matches("ssh://")));
            }
            break;
        };
        if option.len() == 1 && WITH_VALUE.contains(option) {
            if option == "J"
                && let Some(over) = tokens.get(*at)
            {
                found.extend(over.split(',').map(without_user));
            }
            *at += 1;
        }
    }
    found
}

/// Options of ssh(1) whose value is a word of its own.
const WITH_VALUE: &str = "BbcDEeFIiJLlmOopQRSWw";

/// `[USER@]HOST:PATH`, as scp(1) and rsync(1) have it.
fn of_copy(token: &str) -> Option<String> {
    let (host, _) = token.split_once(':')?;
    (!host.is_empty() && !host.contains('/')).then(|| without_user(host))
}

fn of_token(token: &str, is_ours: bool) -> Option<String> {
    if let Some((_, rest)) = token.split_once("://") {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if token.starts_with(BUCKET) {
            return Some(format!("{BUCKET}{authority}"));
        }
        let host = without_user(authority);
        return (!host.is_empty()).then_some(host);
    }
    let token = token.rsplit(['=', '@']).next().unwrap_or_default();
    let (host, port) = token.rsplit_once(':')?;
    let is_port = port.starts_with("${port.") || port.parse::<u16>().is_ok_and(|port| port > 0);
    let host = host.trim_matches(['[', ']']);
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    let is_plain = |c: char| c.is_alphanumeric() || "-_.${}".contains(c);
    let is_name = host.chars().all(is_plain) && host.contains(char::is_alphabetic);
    let is_host = is_address || (is_name && (is_ours || host.contains('.')));
    (is_port && is_host).then(|| host.to_owned())
}

/// Without `USER@` and `:PORT`.
fn without_user(text: &str) -> String {
    let text = text.rsplit('@').next().unwrap_or_default();
    let host = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None if text.matches(':').count() == 1 => text.split(':').next().unwrap_or_default(),
        None => text,
    };
    host.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_show_whom_they_talk_to() {
        for (command, expected) in [
            ("mailrig = ['load', 'mx1:25', '--from', 'a@drill.test']", &["mx1"][..]),
            ("mailrig = ['load', 'mx1.example.test:25']", &["mx1.example.test"]),
            ("mailrig = ['load', '127.0.0.1:${port.x}']", &["127.0.0.1"]),
            ("mailrig = ['backup', '/srv/repo', '/srv/mail']", &[]),
            ("mailrig = ['init', 's3://mail/drill']", &["s3://mail"]),
            (
                "mailrig = ['init', 's3://mail/x']\nenv = { AWS_ENDPOINT_URL_S3 = 'http://127.0.0.1:1' }",
                &["127.0.0.1"],
            ),
            ("argv = ['ssh', 'root@mx1', 'systemctl', 'stop', 'postfix']", &["mx1"]),
            ("argv = ['ssh', '-p', '22', '-tt', '-J', 'a@hop', 'mx1']", &["hop", "mx1"]),
            (
                "argv = ['/usr/bin/ssh', '-oBatchMode=yes', 'mx1.example.test']",
                &["mx1.example.test"],
            ),
            ("argv = ['sh', '-c', 'true; ssh root@mx1 \"reboot\" && echo done']", &["mx1"]),
            ("argv = ['scp', '-q', 'file', 'root@mx1:/etc/file']", &["mx1"]),
            ("argv = ['rsync', '-a', '-e', 'ssh', '/srv/', 'mx1::mail']", &["mx1"]),
            ("argv = ['curl', 'https://user@api.example.test/down?x']", &["api.example.test"]),
            ("argv = ['curl', 'http://[2001:db8::1]:80/']", &["2001:db8::1"]),
            ("argv = ['nc', '192.0.2.1:25']", &["192.0.2.1"]),
            ("argv = ['nc', '[2001:db8::1]:25']", &["2001:db8::1"]),
            ("argv = ['tool', '--to=mx1.example.test:25']", &["mx1.example.test"]),
            ("argv = ['ssh', '${steps.find.stdout}']", &["${steps.find.stdout}"]),
            ("argv = ['tool', '${steps.find.stdout}:25']", &["${steps.find.stdout}"]),
            ("argv = ['chown', '5000:5000', '/srv']", &[]),
            ("argv = ['chown', 'mail:8', 'file:///x']", &[]),
            ("argv = ['echo', 'ssh']", &[]),
            ("repository = 's3://mail'", &["s3://mail"]),
            ("steps = [{ prompt = 'ask https://wiki.example.test for it' }]", &[]),
            ("lab = { files = { 'main.cf' = 'relayhost = mx1.example.test:25' } }", &[]),
        ] {
            let tree: Value = toml::from_str(command).unwrap();
            let expected: BTreeSet<String> = expected.iter().map(|one| (*one).into()).collect();
            assert_eq!(hosts(&tree), expected, "{command}");
        }
    }

    #[test]
    fn a_protected_host_is_found_wherever_it_stands_and_only_where_it_does() {
        for (text, host, expected) in [
            ("smtp = 'mx1.example.test:25'", "mx1.example.test", true),
            ("smtp = 'MX1.Example.Test:25'", "mx1.example.test.", true),
            ("smtp = 'mx1.example.test:25'", "MX1.EXAMPLE.TEST", true),
            ("smtp = 'mx1.example.test.:25'", "mx1.example.test", true),
            ("smtp = 'mx1.example.test.org:25'", "mx1.example.test", false),
            ("smtp = 'new.mx1.example.test:25'", "mx1.example.test", false),
            ("smtp = 'mx10:25'", "mx1", false),
            ("smtp = 'a-mx1:25'", "mx1", false),
            ("smtp = '192.0.2.10:25'", "192.0.2.1", false),
            ("smtp = '127.0.0.1:25'", "127.0.0.1", true),
            ("smtp = '[2001:db8::1]:25'", "2001:db8::1", true),
            ("smtp = '[2001:db8::1:2]:25'", "2001:db8::1", false),
            ("on = { ssh = 'root@mx1' }", "mx1", true),
            ("run = { argv = ['sh', '-c', 'ping mx1'] }", "mx1", true),
            ("lab = { files = { 'main.cf' = 'relayhost = [mx1]' } }", "mx1", true),
            ("title = 'about mx1'", "mx1", false),
            ("roles = { title = { smtp = 'mx1:25' } }", "mx1", true),
            ("steps = [{ name = 'ask mx1', run = { env = { name = 'x' } } }]", "mx1", false),
            ("steps = [{ name = 'ask', run = { env = { name = 'mx1' } } }]", "mx1", true),
            ("traffic = { recipients = 'u@mx1' }", "mx1", false),
            ("smtp = 'mx1:25'", "", false),
        ] {
            let tree: Value = toml::from_str(text).unwrap();
            let protected = [host.to_owned()];
            assert_eq!(protected_in(&tree, &protected).is_some(), expected, "{text} {host}");
        }
    }
}
