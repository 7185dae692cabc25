//! Paths with Dovecot's variables, in the spellings of 2.3 (`%u`, `%Ln`, `%1.1d`) and of 2.4
//! (`%{user | domain | lower}`). Knows a user's name and home, and nothing else that Dovecot may know.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// A path that differs from user to user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Part>,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It has a variable that only Dovecot can know, or nobody.
    #[error(
        "{0} is not known here; known are %u %n %d %h ~ %{{user}} %{{user|username}} %{{user|domain}} %{{home}}"
    )]
    Variable(String),
    /// It is no absolute path.
    #[error("it must begin with / or ~/, and have no .. in it")]
    NotAbsolute,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    User(Vec<Filter>),
    Home,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    /// What comes before the `@`.
    Username,
    /// What comes after it.
    Domain,
    Lower,
    Upper,
    /// From an offset so many bytes.
    Substr(usize, usize),
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text;
        if let Some(after) = text.strip_prefix('~').filter(|t| t.is_empty() || t.starts_with('/')) {
            parts.push(Part::Home);
            rest = after;
        }
        while let Some(at) = rest.find('%') {
            literal.extend_from_slice(&rest.as_bytes()[..at]);
            let (part, length) = match &rest[at..] {
                t if t.starts_with("%%") => (Part::Text(b"%".to_vec()), 2),
                t if t.starts_with("%{") => long(t)?,
                t => short(t)?,
            };
            parts.push(Part::Text(std::mem::take(&mut literal)));
            parts.push(part);
            rest = &rest[at + length..];
        }
        parts.push(Part::Text([&literal, rest.as_bytes()].concat()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        let pattern = Self { parts };
        let path = pattern.expand(b"user@domain", Path::new("/home"));
        let is_normal = |part| matches!(part, Component::RootDir | Component::Normal(_));
        if path.is_absolute() && path.components().all(is_normal) {
            Ok(pattern)
        } else {
            Err(PatternError::NotAbsolute)
        }
    }
}

impl Pattern {
    /// If users of one domain share a path, that path, as far as it is the same in other domains.
    pub fn shared(&self) -> Option<PathBuf> {
        let expand = |user: &str, home| self.expand(user.as_bytes(), Path::new(home));
        let one = expand("one@domain", "/one");
        let elsewhere = expand("two@elsewhere", "/two");
        let same = one.components().zip(elsewhere.components()).take_while(|(a, b)| a == b);
        (one == expand("two@domain", "/two")).then(|| same.map(|(part, _)| part).collect())
    }

    /// The same with the links followed in the folders before its first variable, as far as they are
    /// there; the error names the folder that cannot be looked at.
    pub fn resolve(&self) -> Result<Self, crate::Error> {
        let Some(Part::Text(text)) = self.parts.first() else { return Ok(self.clone()) };
        let end = memchr::memrchr(b'/', text).unwrap_or(0);
        let resolved = follow(Path::new(OsStr::from_bytes(&text[..end])))?;
        let mut fixed = resolved.into_os_string().into_vec();
        fixed.extend_from_slice(&text[end..]);
        let rest = self.parts[1..].iter().cloned();
        Ok(Self { parts: std::iter::once(Part::Text(fixed)).chain(rest).collect() })
    }

    /// The path of the user with this name and home.
    pub fn expand(&self, user: &[u8], home: &Path) -> PathBuf {
        let mut path = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => path.extend_from_slice(text),
                Part::Home => path.extend_from_slice(home.as_os_str().as_bytes()),
                Part::User(filters) => {
                    let value =
                        filters.iter().fold(user.to_vec(), |value, filter| filter.apply(&value));
                    path.extend_from_slice(&value);
                }
            }
        }
        // Slashes that an empty part left double.
        PathBuf::from(OsString::from_vec(path)).components().collect()
    }
}

/// A path without links; what of it is not there stays as it is. A link that leads nowhere is an error.
fn follow(path: &Path) -> Result<PathBuf, crate::Error> {
    for above in path.ancestors() {
        let below = path.strip_prefix(above).unwrap_or(Path::new(""));
        match above.canonicalize() {
            Ok(real) => return Ok(real.components().chain(below.components()).collect()),
            Err(e) if e.kind() == io::ErrorKind::NotFound && !above.is_symlink() => {}
            Err(source) => {
                let path = above.to_owned();
                return Err(crate::Error { action: "follow", path, source });
            }
        }
    }
    Ok(path.to_owned())
}

impl Filter {
    fn apply(self, value: &[u8]) -> Vec<u8> {
        let at = memchr::memchr(b'@', value);
        match self {
            Self::Username => value[..at.unwrap_or(value.len())].to_vec(),
            Self::Domain => at.map_or_else(Vec::new, |at| value[at + 1..].to_vec()),
            Self::Lower => value.to_ascii_lowercase(),
            Self::Upper => value.to_ascii_uppercase(),
            Self::Substr(offset, length) => {
                value.iter().skip(offset).take(length).copied().collect()
            }
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "username" => Self::Username,
            "domain" => Self::Domain,
            "lower" => Self::Lower,
            "upper" => Self::Upper,
            text => {
                let arguments = text.strip_prefix("substr(")?.strip_suffix(')')?;
                let (offset, length) = arguments.split_once(',').unwrap_or((arguments, "65535"));
                Self::Substr(offset.trim().parse().ok()?, length.trim().parse().ok()?)
            }
        })
    }
}

/// `%{…}` at the start of `text`, and its length.
fn long(text: &str) -> Result<(Part, usize), PatternError> {
    let end = text.find('}').ok_or_else(|| PatternError::Variable(text.to_owned()))?;
    let unknown = || PatternError::Variable(text[..=end].to_owned());
    let mut words = text[2..end].split('|').map(str::trim);
    let part = match words.next() {
        Some("home") => Part::Home,
        Some("user") => Part::User(Vec::new()),
        Some("username") => Part::User(vec![Filter::Username]),
        Some("domain") => Part::User(vec![Filter::Domain]),
        _ => return Err(unknown()),
    };
    let filters = words.map(Filter::parse).collect::<Option<Vec<_>>>().ok_or_else(unknown)?;
    match part {
        Part::User(mut all) => {
            all.extend(filters);
            Ok((Part::User(all), end + 1))
        }
        part if filters.is_empty() => Ok((part, end + 1)),
        _ => Err(unknown()),
    }
}

/// `%u`, with modifiers between the two, at the start of `text`, and its length.
fn short(text: &str) -> Result<(Part, usize), PatternError> {
    let modifier = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'L' | 'U');
    let letters = text[1..].trim_start_matches(modifier);
    let modifiers = &text[1..text.len() - letters.len()];
    let variable = letters.chars().next().map_or(0, char::len_utf8);
    let length = 1 + modifiers.len() + variable;
    let unknown = || PatternError::Variable(text[..length].to_owned());
    let mut filters = match &letters[..variable] {
        "u" => Vec::new(),
        "n" => vec![Filter::Username],
        "d" => vec![Filter::Domain],
        "h" if modifiers.is_empty() => return Ok((Part::Home, length)),
        _ => return Err(unknown()),
    };
    let case = modifiers.trim_matches(|c: char| c.is_ascii_digit() || c == '.');
    match case {
        "" => {}
        "L" => filters.push(Filter::Lower),
        "U" => filters.push(Filter::Upper),
        _ => return Err(unknown()),
    }
    let numbers = modifiers.trim_matches(['L', 'U']);
    if !numbers.is_empty() {
        let (offset, width) = numbers.split_once('.').unwrap_or(("0", numbers));
        let number = |text: &str| text.parse().map_err(|_| unknown());
        filters.push(Filter::Substr(number(offset)?, number(width)?));
    }
    Ok((Part::User(filters), length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(pattern: &str, user: &str) -> String {
        let pattern: Pattern = pattern.parse().unwrap_or_else(|e| panic!("{pattern}: {e}"));
        pattern.expand(user.as_bytes(), Path::new("/vmail/h")).to_str().unwrap().to_owned()
    }

    #[test]
    fn variables_stand_for_what_dovecot_puts_there() {
        let table = [
            ("/ctl/%u", "/ctl/Al@Ex.org"),
            ("/ctl/%d/%n", "/ctl/Ex.org/Al"),
            ("/ctl/%Ld/%Lu", "/ctl/ex.org/al@ex.org"),
            ("/ctl/%Un", "/ctl/AL"),
            ("/ctl/%1n/%1.1n/%L1d", "/ctl/A/l/e"),
            ("~/sieve", "/vmail/h/sieve"),
            ("~", "/vmail/h"),
            ("%h/sieve", "/vmail/h/sieve"),
            ("%{home}/x", "/vmail/h/x"),
            ("/c/%{user}", "/c/Al@Ex.org"),
            ("/c/%{user|domain}/%{ user | username | lower }", "/c/Ex.org/al"),
            ("/c/%{username}-%{domain}", "/c/Al-Ex.org"),
            ("/c/%{user|substr(1, 2)}", "/c/l@"),
            ("/c/100%%/%n/", "/c/100%/Al"),
            ("/same", "/same"),
        ];
        for (pattern, path) in table {
            assert_eq!(expand(pattern, "Al@Ex.org"), path, "{pattern}");
        }
        assert_eq!(expand("/c/%d/%n", "erin"), "/c/erin");
    }

    #[test]
    fn what_users_share_is_known() {
        for (pattern, shared) in [
            ("/c/%u", None),
            ("~/x", None),
            ("/c/%n", None),
            ("/c/%d/x", Some("/c")),
            ("/c/x", Some("/c/x")),
        ] {
            let expected = shared.map(PathBuf::from);
            assert_eq!(pattern.parse::<Pattern>().unwrap().shared(), expected, "{pattern}");
        }
    }

    #[test]
    fn links_are_followed_before_the_first_variable_only() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::create_dir(base.join("real")).unwrap();
        for (link, to) in [("ctl", "real"), ("real/al", "/etc"), ("dangling", "nowhere")] {
            std::os::unix::fs::symlink(to, base.join(link)).unwrap();
        }
        let resolve = |pattern: &str| {
            let pattern: Pattern = format!("{}/{pattern}", base.display()).parse().unwrap();
            pattern.resolve().map(|pattern| pattern.expand(b"al", Path::new("/home/al")))
        };
        for (pattern, expected) in [
            ("ctl/%u", "real/al"),
            ("ctl/x%u/y", "real/xal/y"),
            ("ctl/new/folder/%u", "real/new/folder/al"),
            // The link to the active script is what is restored.
            ("ctl", "ctl"),
            ("new/%u", "new/al"),
        ] {
            assert_eq!(resolve(pattern).unwrap(), base.join(expected), "{pattern}");
        }
        assert_eq!(resolve("dangling/x/%u").unwrap_err().path, base.join("dangling"));
        for pattern in ["~/sieve", "/%u"] {
            let pattern: Pattern = pattern.parse().unwrap();
            assert_eq!(
                pattern.resolve().unwrap().expand(b"a", Path::new("/h")),
                pattern.expand(b"a", Path::new("/h"))
            );
        }
    }

    #[test]
    fn what_only_dovecot_knows_is_named() {
        let table = [
            ("/c/%s/%u", "%s"),
            ("/c/%Hu", "%H"),
            ("/c/%{userdb:home}", "%{userdb:home}"),
            ("/c/%{user|sha1}", "%{user|sha1}"),
            ("/c/%{home|lower}", "%{home|lower}"),
            ("/c/%{user", "%{user"),
            ("/c/%", "%"),
            ("/c/%1.x.2u", "%1.x"),
            ("/c/%..u", "%..u"),
            ("/c/%LLu", "%LLu"),
        ];
        for (pattern, variable) in table {
            let expected = Err(PatternError::Variable(variable.into()));
            assert_eq!(pattern.parse::<Pattern>(), expected, "{pattern}");
        }
        for pattern in ["", "ctl/%u", "%u", "~bob/x", "/a/../%u", "../x"] {
            assert_eq!(pattern.parse::<Pattern>(), Err(PatternError::NotAbsolute), "{pattern}");
        }
    }
}
