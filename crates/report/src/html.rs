//! Escaping and the small pieces every page is built of. Whatever was said by a server or typed by
//! a person passes through `text` before it stands in a page.

/// A text for an element or an attribute in double quotes, of HTML or XML: all five characters
/// escaped, and `plain`.
pub(crate) fn text(raw: &str) -> String {
    let plain = plain(raw);
    let mut escaped = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A text in one line, without characters that control a terminal or turn the direction of writing,
/// and cut if it is endless. It is not escaped.
pub(crate) fn plain(raw: &str) -> String {
    let mut plain = String::with_capacity(raw.len().min(MOST_CHARS));
    for (index, c) in raw.chars().enumerate() {
        if index == MOST_CHARS {
            plain.push('…');
            break;
        }
        match c {
            '\t' | '\n' | '\r' => plain.push(' '),
            c if is_unseen(c) => {}
            c => plain.push(c),
        }
    }
    plain
}

/// A value that a program finds too: `data-key` names it as the JSON does, `data-value` is raw.
pub(crate) fn value(key: &str, raw: impl ToString, human: &str) -> String {
    format!(
        r#"<span data-key="{}" data-value="{}">{}</span>"#,
        text(key),
        text(&raw.to_string()),
        text(human)
    )
}

/// As `value`, for a number that may be none: JSON says `null` then, and so does the page.
pub(crate) fn float(key: &str, raw: f64, human: &str) -> String {
    if raw.is_finite() { value(key, raw, human) } else { value(key, "null", human) }
}

/// A section with its heading and a line under it; `inner` is HTML.
pub(crate) fn section(id: &str, heading: &str, lead: &str, inner: &str) -> String {
    let lead = if lead.is_empty() { String::new() } else { format!("<p class=lead>{lead}</p>") };
    format!("<section id={id}><h2>{}</h2>{lead}{inner}</section>\n", text(heading))
}

/// What is shown only to those who ask for it: the numbers behind a figure.
pub(crate) fn details(summary: &str, inner: &str) -> String {
    format!("<details><summary>{}</summary>{inner}</details>", text(summary))
}

/// A table whose cells are HTML already; it scrolls in a box of its own where the page is narrow.
#[derive(Debug)]
pub(crate) struct Table {
    caption: String,
    columns: Vec<Column>,
    rows: String,
    has_rows: bool,
}

/// One column.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column {
    /// Texts, to the left.
    Words(&'static str),
    /// Numbers, to the right.
    Number(&'static str),
}

impl Table {
    /// An empty one; the caption is for those who cannot see the page.
    pub(crate) fn new(caption: &str, columns: &[Column]) -> Self {
        let columns = columns.to_vec();
        Self { caption: text(caption), columns, rows: String::new(), has_rows: false }
    }

    /// Adds a row, with a cell for each column; the first names it.
    pub(crate) fn row(&mut self, cells: &[String]) {
        self.rows.push_str("<tr>");
        for (index, (cell, column)) in cells.iter().zip(&self.columns).enumerate() {
            let tag = if index == 0 { "th scope=row" } else { "td" };
            let end = if index == 0 { "th" } else { "td" };
            self.rows.push_str(&format!("<{tag}{}>{cell}</{end}>", column.class()));
        }
        self.rows.push_str("</tr>\n");
        self.has_rows = true;
    }

    /// The whole of it; nothing if it has no rows.
    pub(crate) fn html(&self) -> String {
        if !self.has_rows {
            return String::new();
        }
        let heads: String = self.columns.iter().map(Column::head).collect();
        format!(
            "<div class=scroll tabindex=0 role=region aria-label=\"{0}\"><table><caption>{0}\
             </caption><thead><tr>{heads}</tr></thead><tbody>\n{1}</tbody></table></div>",
            self.caption, self.rows
        )
    }
}

impl Column {
    fn class(&self) -> &'static str {
        match self {
            Self::Words(_) => "",
            Self::Number(_) => " class=n",
        }
    }

    fn head(&self) -> String {
        let (Self::Words(name) | Self::Number(name)) = self;
        format!("<th scope=col{}>{}</th>", self.class(), text(name))
    }
}

/// Controls, what turns the direction of writing, and what is no character.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}')
}

/// The longest text of a page; a reply's 500 lines are not for a page.
const MOST_CHARS: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_texts_stay_texts() {
        for (raw, escaped) in [
            ("plain ä 漢", "plain ä 漢"),
            ("<script>alert('1')</script>", "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;"),
            ("a\" onload=\"x", "a&quot; onload=&quot;x"),
            ("&lt;", "&amp;lt;"),
            ("a\r\nb\tc", "a  b c"),
            ("a\0\x1b[31m\u{7f}\u{85}b", "a[31mb"),
            ("a\u{202e}b\u{2066}c\u{200b}d\u{feff}\u{ffff}", "abcd"),
            ("", ""),
        ] {
            assert_eq!(text(raw), escaped, "{raw:?}");
        }
    }

    #[test]
    fn endless_texts_end() {
        let escaped = text(&"x".repeat(10 * MOST_CHARS));
        assert_eq!(escaped.chars().count(), MOST_CHARS + 1);
        assert!(escaped.ends_with('…'));
    }

    #[test]
    fn values_are_found_by_their_key() {
        let found = value("response_us.p99", 12_345, "12.3 ms");
        let asked = r#"<span data-key="response_us.p99" data-value="12345">12.3 ms</span>"#;
        assert_eq!(found, asked);
        assert!(float("a", 0.5, "").contains(r#"data-value="0.5""#));
        assert!(float("a", f64::NAN, "–").contains(r#"data-value="null""#));
        assert!(float("a", f64::INFINITY, "–").contains(r#"data-value="null""#));
    }

    #[test]
    fn a_table_without_rows_is_nothing() {
        let mut table = Table::new("t", &[Column::Words("a"), Column::Number("b")]);
        assert_eq!(table.html(), "");
        table.row(&["x".into(), "1".into()]);
        assert!(table.html().contains("<th scope=row>x</th><td class=n>1</td>"));
    }
}
