//! USER:GROUP as numbers. Names are looked up in /etc/passwd and /etc/group; accounts that are
//! elsewhere (LDAP) go by their numbers.

/// Reads `USER:GROUP`, or `USER` alone, whose login group it is then.
pub(crate) fn parse(text: &str) -> Result<(u32, u32), String> {
    let read = |path: &str| std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"));
    look_up(text, &read("/etc/passwd")?, &read("/etc/group")?)
}

fn look_up(text: &str, users: &str, groups: &str) -> Result<(u32, u32), String> {
    let unknown = |what: &str, name: &str, file: &str| {
        Err(format!("there is no {what} `{name}` in {file}; give its number"))
    };
    let (user, group) = text.split_once(':').map_or((text, None), |(u, g)| (u, Some(g)));
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let known = fields.filter(|fields| fields.len() > 3).find(|f| f[0] == user || f[2] == user);
    let uid = match (user.parse(), &known) {
        (Ok(uid), _) => uid,
        (Err(_), Some(fields)) if fields[0] == user => number(fields[2])?,
        _ => return unknown("user", user, "/etc/passwd"),
    };
    let gid = match (group, &known) {
        (Some(group), _) => match group.parse() {
            Ok(gid) => gid,
            Err(_) => {
                let mut lines = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
                match lines.find(|fields| fields.len() > 2 && fields[0] == group) {
                    Some(fields) => number(fields[2])?,
                    None => return unknown("group", group, "/etc/group"),
                }
            }
        },
        (None, Some(fields)) => number(fields[3])?,
        (None, None) => return Err(format!("user {user} has no known group: give USER:GROUP")),
    };
    Ok((uid, gid))
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is no id of a user or group"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_give_owners() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\nvmail:x:5000:5001::/var/vmail:/bin/false\nbad\n";
        let groups = "root:x:0:\nmail:x:8:vmail\n";
        let table = [
            ("vmail:mail", Ok((5000, 8))),
            ("vmail", Ok((5000, 5001))),
            ("5000", Ok((5000, 5001))),
            ("7:9", Ok((7, 9))),
            ("vmail:12", Ok((5000, 12))),
            ("7", Err("user 7 has no known group: give USER:GROUP")),
            ("nobody:mail", Err("there is no user `nobody` in /etc/passwd; give its number")),
            ("vmail:x", Err("there is no group `x` in /etc/group; give its number")),
            ("", Err("there is no user `` in /etc/passwd; give its number")),
            ("-1:0", Err("there is no user `-1` in /etc/passwd; give its number")),
        ];
        for (text, expected) in table {
            assert_eq!(look_up(text, users, groups), expected.map_err(str::to_owned), "{text}");
        }
    }
}
