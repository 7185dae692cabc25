//! The relaxed canonical forms of DKIM (RFC 6376, 3.4.2 and 3.4.4): what a signature covers, so that servers on the way
//! may fold lines and change white space.

/// Appends a header field as it is signed: `name:value` and CR LF.
pub(super) fn field(field: &[u8], out: &mut Vec<u8>) {
    let (name, value) = match field.iter().position(|byte| *byte == b':') {
        Some(colon) => (&field[..colon], &field[colon + 1..]),
        None => (field, &b""[..]),
    };
    out.extend(name.trim_ascii().iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let start = out.len();
    let mut has_space = false;
    for &byte in value {
        match byte {
            b' ' | b'\t' => has_space = true,
            b'\r' | b'\n' => {}
            _ => {
                if std::mem::take(&mut has_space) && out.len() > start {
                    out.push(b' ');
                }
                out.push(byte);
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Gives the body as it is signed to `each`, a line or part of one at a time.
pub(super) fn body(body: &[u8], mut each: impl FnMut(&[u8])) {
    let (mut empty_lines, mut rest, mut line) = (0_usize, body, Vec::new());
    while !rest.is_empty() {
        let end = rest.windows(2).position(|two| two == b"\r\n");
        let raw = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or(&[][..], |end| &rest[end + 2..]);
        line.clear();
        squeeze(raw, &mut line);
        if line.is_empty() {
            empty_lines += 1;
            continue;
        }
        (0..std::mem::take(&mut empty_lines)).for_each(|_| each(b"\r\n"));
        line.extend_from_slice(b"\r\n");
        each(&line);
    }
}

/// White space within a line becomes one space; none is left at its end.
fn squeeze(line: &[u8], out: &mut Vec<u8>) {
    let mut has_space = false;
    for &byte in line {
        if matches!(byte, b' ' | b'\t') {
            has_space = true;
            continue;
        }
        if std::mem::take(&mut has_space) {
            out.push(b' ');
        }
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_bodies_take_their_relaxed_forms() {
        // The first is the example of RFC 6376, 3.4.5.
        for (given, expected) in [
            ("A: X\r\n", "a:X\r\n"),
            ("B : Y\t\r\n\tZ  \r\n", "b:Y Z\r\n"),
            ("To: a@b,\r\n c@d\r\n", "to:a@b, c@d\r\n"),
            ("Empty:\r\n", "empty:\r\n"),
        ] {
            let mut out = Vec::new();
            field(given.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{given:?}");
        }
        for (given, expected) in [
            (" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"),
            ("", ""),
            ("\r\n\r\n", ""),
            (" \r\n", ""),
            ("a", "a\r\n"),
            ("a\r\n\r\n \tb", "a\r\n\r\n b\r\n"),
        ] {
            let mut out = Vec::new();
            body(given.as_bytes(), |part| out.extend_from_slice(part));
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{given:?}");
        }
    }
}
