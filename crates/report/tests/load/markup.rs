//! Just enough of a reader of HTML: whether what is opened is closed, and the values with a key.

/// Panics where a tag is closed that is not open, and where one stays open.
pub(crate) fn check(html: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html.strip_prefix("<!DOCTYPE html>").expect("a doctype");
    while let Some((before, after)) = rest.split_once('<') {
        assert!(!before.contains('>') || open.last() == Some(&"style"), "a bare >: {before}");
        let (tag, after) = after.split_at(tag_end(after));
        rest = &after[1..];
        let name = tag.trim_start_matches('/');
        let name = &name[..name.find([' ', '/']).unwrap_or(name.len())];
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closed before {}", &rest[..rest.len().min(80)]);
        } else if !tag.ends_with(" /") && !["meta", "link"].contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
}

/// All keys with their raw values, in order.
pub(crate) fn values(html: &str) -> Vec<(String, String)> {
    let attribute = |part: &str| part.split('"').next().unwrap_or_default().to_owned();
    html.split("data-key=\"")
        .skip(1)
        .map(|part| {
            let raw = part.split_once("data-value=\"").expect("a value for each key").1;
            (attribute(part), attribute(raw))
        })
        .collect()
}

/// Where a tag ends: at the first `>` outside of quotes.
fn tag_end(text: &str) -> usize {
    let mut is_quoted = false;
    let end = text.find(|c| {
        is_quoted ^= c == '"';
        assert!(is_quoted || c != '<', "a < in a tag: {}", &text[..text.len().min(80)]);
        c == '>' && !is_quoted
    });
    end.expect("a tag that ends")
}
