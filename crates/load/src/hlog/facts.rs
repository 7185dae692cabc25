//! What a log says about where it comes from, in a comment that other tools pass over.

use std::fmt;

/// Which part of which run a log is. Logs of one plan whose shards differ may be merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The plan's digest, the same for all shards.
    pub plan: String,
    /// Which shard, from 0.
    pub shard: u32,
    /// Of how many.
    pub shards: u32,
    /// The run's id.
    pub run: String,
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shard, shards, .. } = self;
        let [plan, run] = [&self.plan, &self.run].map(|word| clean(word));
        write!(f, "#[mailrig plan={plan} shard={shard}/{shards} run={run}]")
    }
}

impl Facts {
    /// From a comment, if it is one of ours and complete.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let words = line.strip_prefix("#[mailrig ")?.strip_suffix(']')?;
        let value = |key: &str| {
            let mut values = words.split(' ').filter_map(|word| word.strip_prefix(key));
            values.find_map(|rest| rest.strip_prefix('='))
        };
        let word = |key| value(key).filter(|word| is_clean(word)).map(str::to_owned);
        let (shard, shards) = value("shard")?.split_once('/')?;
        let (shard, shards) = (shard.parse().ok()?, shards.parse().ok()?);
        (shard < shards).then_some(Self { plan: word("plan")?, shard, shards, run: word("run")? })
    }
}

/// Digests and ids are such words anyway; whatever else they were, a comment stays one line.
fn clean(word: &str) -> String {
    word.chars().filter(|c| is_of_words(*c)).take(MOST_CHARS).collect()
}

fn is_clean(word: &str) -> bool {
    word.len() <= MOST_CHARS && word.chars().all(is_of_words)
}

fn is_of_words(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':')
}

/// A SHA-256 in hex has 64.
const MOST_CHARS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_stay_one_comment_whatever_they_are() {
        let facts = Facts { plan: "a]\n#b c".into(), shard: 0, shards: 1, run: "r".into() };
        let line = facts.to_string();
        assert_eq!(line, "#[mailrig plan=abc shard=0/1 run=r]");
        assert_eq!(Facts::parse(&line), Some(Facts { plan: "abc".into(), ..facts }));
    }

    #[test]
    fn half_facts_are_none() {
        for line in [
            "#[mailrig plan=a shard=0/1]",
            "#[mailrig plan=a shard=1/1 run=r]",
            "#[mailrig plan=a shard=-1/1 run=r]",
            "#[mailrig plan=a shard=0 run=r]",
            "#[mailrig plan=a\u{1b} shard=0/1 run=r]",
            "#[mailrig plan=a shard=0/1 run=r",
        ] {
            assert_eq!(Facts::parse(line), None, "{line}");
        }
    }
}
