//! What `doveconf -n` prints, as blocks and settings: the form is the same in Dovecot 2.3 and 2.4.

/// A setting, with the blocks around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Blocks from the outermost, such as `namespace inbox`.
    pub(crate) blocks: Vec<String>,
    pub(crate) key: String,
    pub(crate) value: String,
    /// Which outermost block it is in: several may have one name.
    block: usize,
}

/// All settings, in order.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// Dovecot's version, from the first comment.
    pub(crate) version: Option<String>,
    /// The file that was read.
    pub(crate) file: Option<String>,
    all: Vec<Setting>,
}

impl Settings {
    pub(crate) fn parse(text: &str) -> Self {
        let mut settings = Self::default();
        let mut blocks: Vec<String> = Vec::new();
        let mut block_count = 0;
        for line in text.lines().map(str::trim) {
            if let Some(comment) = line.strip_prefix('#') {
                settings.header(comment.trim());
            } else if line == "}" {
                blocks.pop();
            } else if let Some(block) = line.strip_suffix('{') {
                block_count += usize::from(blocks.is_empty());
                // Nothing is meant to lie so deep; what does is read as if it were less deep.
                if blocks.len() < MAX_DEPTH {
                    blocks.push(block.trim().to_owned());
                }
            } else if let Some((key, value)) = line.split_once('=') {
                let (key, value) = (key.trim().to_owned(), unquoted(value.trim()));
                let (blocks, block) = (blocks.clone(), block_count);
                settings.all.push(Setting { blocks, key, value, block });
            }
        }
        settings
    }

    /// `2.3.19.1 (9b53102964): /etc/dovecot/dovecot.conf`, the first comment.
    fn header(&mut self, comment: &str) {
        let starts_as_version = comment.starts_with(|c: char| c.is_ascii_digit());
        if self.version.is_none() && starts_as_version && self.all.is_empty() {
            self.version = comment.split(' ').next().map(str::to_owned);
            self.file = comment.split_once("): ").map(|(_, file)| file.trim().to_owned());
        }
    }

    /// The value of a setting outside all blocks, unless it is empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.find(|setting| setting.blocks.is_empty() && setting.key == key)
    }

    /// The value of a setting in `plugin { }`, where 2.3 has those of plugins; of 2.4, outside.
    pub(crate) fn plugin(&self, key: &str) -> Option<&str> {
        self.find(|setting| setting.key == key && setting.blocks == ["plugin"])
            .or_else(|| self.get(key))
    }

    fn find(&self, is_wanted: impl Fn(&Setting) -> bool) -> Option<&str> {
        // The last one holds, as in Dovecot.
        let found = self.all.iter().rev().find(|setting| is_wanted(setting))?;
        Some(found.value.as_str()).filter(|value| !value.is_empty())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.all.iter()
    }

    /// The outermost blocks of a kind, such as `namespace`, each with its settings directly in it.
    pub(crate) fn blocks(&self, kind: &str) -> Vec<(&str, Vec<&Setting>)> {
        let mut blocks: Vec<(&str, Vec<&Setting>)> = Vec::new();
        let mut number = 0;
        for setting in &self.all {
            let Some(block) = setting.blocks.first() else { continue };
            let Some(name) =
                block.strip_prefix(kind).filter(|n| n.is_empty() || n.starts_with(' '))
            else {
                continue;
            };
            match blocks.last_mut() {
                Some((_, settings)) if number == setting.block => settings.push(setting),
                _ => blocks.push((name.trim(), vec![setting])),
            }
            number = setting.block;
        }
        blocks
    }
}

fn unquoted(value: &str) -> String {
    match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
        Some(inside) => inside.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => value.to_owned(),
    }
}

const MAX_DEPTH: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_values_are_told_apart() {
        let settings = Settings::parse(
            "# 2.3.19.1 (9b53102964): /etc/dovecot/dovecot.conf\n# OS: Linux\n\
             a = 1\nq = \" with \\\"quotes\\\"\"\nempty = \n\
             namespace inbox {\n  inbox = yes\n  mailbox Sent {\n    special_use = \\Sent\n  }\n}\n\
             plugin {\n  sieve = file:~/sieve;active=~/x=y\n}\na = 2\nbroken\n}\n}\nb = 3\n",
        );
        assert_eq!(settings.version.as_deref(), Some("2.3.19.1"));
        assert_eq!(settings.file.as_deref(), Some("/etc/dovecot/dovecot.conf"));
        assert_eq!(settings.get("a"), Some("2"));
        assert_eq!(settings.get("q"), Some(" with \"quotes\""));
        assert_eq!((settings.get("empty"), settings.get("inbox")), (None, None));
        assert_eq!(settings.plugin("sieve"), Some("file:~/sieve;active=~/x=y"));
        assert_eq!(settings.get("b"), Some("3"));
        let namespaces = settings.blocks("namespace");
        assert_eq!(namespaces[0].0, "inbox");
        assert_eq!(namespaces[0].1[1].blocks, ["namespace inbox", "mailbox Sent"]);
        assert!(settings.blocks("name").is_empty());
    }
}
