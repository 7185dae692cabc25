"""The clients that the Dovecot tests use: LMTP to deliver, IMAP to use and to read mailboxes."""

import hashlib
import imaplib
import json
import re
import smtplib
import sys

imaplib._MAXLINE = 100_000_000


def check(answer):
    status, data = answer
    assert status == "OK", answer
    return data


def login(port, user):
    imap = imaplib.IMAP4("127.0.0.1", int(port), timeout=60)
    check(imap.login(user, "secret"))
    return imap


def deliver(socket, letters):
    lmtp = smtplib.LMTP(socket)
    for line in open(letters):
        to, path = line.rstrip("\n").split(" ", 1)
        refused = lmtp.sendmail("sender@example.net", [to], open(path, "rb").read())
        assert not refused, refused
    lmtp.quit()


def use(port, user):
    imap = login(port, user)
    for folder in ["Sent", "Archive", "Archive.2025", "M&APw-ll"]:
        check(imap.create(folder))
        check(imap.subscribe(folder))
    count = int(check(imap.select("INBOX"))[0])
    assert count >= 50, count
    third, half = count // 3, count // 2
    check(imap.store(f"1:{third}", "+FLAGS", r"(\Seen)"))
    check(imap.store("2:9", "+FLAGS", r"(\Flagged \Answered)"))
    check(imap.store("5:14", "+FLAGS", "($Forwarded todo $Label1)"))
    check(imap.store("12", "+FLAGS", r"(\Draft)"))
    check(imap.copy(f"{third}:{third + 9}", "Sent"))
    check(imap.copy("3:7", "M&APw-ll"))
    check(imap._simple_command("MOVE", f"{half}:{count}", "Archive.2025"))
    # Gone UIDs leave gaps; what is only marked stays.
    check(imap.store("20:24", "+FLAGS", r"(\Deleted)"))
    check(imap.expunge())
    check(imap.store("1", "+FLAGS", r"(\Deleted)"))
    check(imap.append("Sent", r"(\Seen)", '"07-Feb-2019 21:34:56 +0000"', b"Subject: sent\r\n\r\nx\r\n"))
    check(imap.unselect())
    imap.logout()


def dump(port, user):
    imap = login(port, user)
    # Asked for on its own: `imaplib` takes flags for untagged answers.
    folders = sorted(re.match(rb'\(.*?\) "." (.*)', row)[1].decode().strip('"') for row in check(imap.list()))
    subscribed = sorted(row.decode().rsplit(" ", 1)[1] for row in check(imap.lsub()) if row)
    result = {"subscribed": subscribed, "folders": {}}
    for folder in folders:
        check(imap.select(f'"{folder}"', readonly=True))
        messages = {}
        parts = "(UID FLAGS INTERNALDATE BODY.PEEK[])"
        rows = check(imap.uid("fetch", "1:*", parts))
        for row in rows:
            if not isinstance(row, tuple):
                continue
            head, body = row
            uid = int(re.search(rb"UID (\d+)", head)[1])
            flags = re.search(rb"FLAGS \(([^)]*)\)", head)[1].decode().split()
            messages[uid] = {
                "flags": sorted(flag for flag in flags if flag != r"\Recent"),
                "date": re.search(rb'INTERNALDATE "([^"]*)"', head)[1].decode(),
                "sha256": hashlib.sha256(body).hexdigest(),
            }
        validity = int(imap.untagged_responses["UIDVALIDITY"][-1])
        next_uid = int(imap.untagged_responses["UIDNEXT"][-1])
        exists = int(imap.untagged_responses["EXISTS"][-1])
        assert exists == len(messages), (folder, exists, len(messages))
        result["folders"][folder] = {"uidvalidity": validity, "uidnext": next_uid, "messages": messages}
    imap.logout()
    print(json.dumps(result))


{"deliver": deliver, "use": use, "dump": dump}[sys.argv[1]](*sys.argv[2:])
