"""The clients that the Dovecot tests use: LMTP to deliver, IMAP to use and to read mailboxes."""

import hashlib
import imaplib
import json
import random
import re
import select
import smtplib
import sys
from collections import Counter

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
    rows = (row for row in check(imap.list()) if rb"\Noselect" not in row)
    folders = sorted(re.match(rb'\(.*?\) "." (.*)', row)[1].decode().strip('"') for row in rows)
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


class Churn:
    """A client that works on its own messages, one command after the other, and keeps account of them."""

    FOLDERS = ["INBOX", "Archive", "Sent", "Lists"]
    FLAGS = [r"\Seen", r"\Flagged", r"\Answered", "$Label1", "todo"]

    def __init__(self, port, user, client, count):
        self.random = random.Random(int(client))
        self.client, self.count, self.made, self.acts = int(client), int(count), 0, 0
        self.messages = []  # of [letter, folder, uid, there throughout, stayed]
        self.now, self.most = Counter(), Counter()
        self.imap = login(port, user)
        for folder in self.FOLDERS[1:]:
            self.imap.create(folder)  # another client may have made it
        while len(self.messages) < self.count:
            self.append(self.random.choice(self.FOLDERS))

    def append(self, folder):
        letter = f"c{self.client}-{self.made}"
        self.made += 1
        body = f"line of {letter}\r\n" * self.random.randrange(1, 200)
        text = f"X-Letter: {letter}\r\nSubject: letter {letter}\r\n\r\n{body}"
        self.one_more(letter)
        flags = self.random.choice(["", r"(\Seen)"])
        check(self.imap.append(folder, flags, None, text.encode()))
        uid = int(self.imap.untagged_responses.pop("APPENDUID")[-1].split()[1])
        self.messages.append([letter, folder, uid, False, False])

    def one_more(self, letter):
        self.now[letter] += 1
        self.most[letter] = max(self.most[letter], self.now[letter])

    def copied(self, command, uids, target):
        """Where COPY or MOVE put each UID. The server may have lost sight of one: it reads folders, too."""
        self.imap.untagged_responses.pop("COPYUID", None)
        check(self.imap._simple_command("UID", command, uids, target))
        _, old, new = self.imap.untagged_responses.pop("COPYUID", [b"0 0 0"])[-1].split()
        expand = lambda text: [
            uid
            for part in text.decode().split(",")
            for ends in [part.split(":")]
            for uid in range(int(ends[0]), int(ends[-1]) + 1)
        ]
        return dict(zip(expand(old), expand(new)))

    def act(self):
        folder = self.random.choice(self.FOLDERS)
        here = [message for message in self.messages if message[1] == folder]
        if not here:
            return self.append(folder)
        check(self.imap.select(folder))
        for _ in range(4):
            some = self.random.sample(here, min(len(here), self.random.randrange(1, 12)))
            uids = ",".join(str(uid) for uid in sorted(message[2] for message in some))
            what, target = self.random.random(), self.random.choice(self.FOLDERS)
            self.acts += 1
            if what < 0.6 or target == folder:
                sign = self.random.choice("+-")
                check(self.imap.uid("STORE", uids, f"{sign}FLAGS.SILENT", self.random.choice(self.FLAGS)))
            elif what < 0.9:
                for message in some:
                    self.one_more(message[0])
                places = self.copied("MOVE", uids, target)
                self.messages = [m for m in self.messages if m not in some or m[2] in places]
                for message in some:
                    message[1:3], message[4] = [target, places.get(message[2])], False
                    self.now[message[0]] -= 1
                here = [message for message in here if message not in some]
            elif len(self.messages) < self.count:
                for message in some:
                    self.one_more(message[0])
                places = self.copied("COPY", uids, target)
                some = [message for message in some if message[2] in places]
                self.messages += [[m[0], target, places[m[2]], False, False] for m in some]
                self.append(folder)
            else:
                self.messages = [message for message in self.messages if message not in some]
                check(self.imap.uid("STORE", uids, "+FLAGS.SILENT", r"(\Deleted)"))
                check(self.imap.uid("EXPUNGE", uids))
                for message in some:
                    self.now[message[0]] -= 1
                here = [message for message in here if message not in some]
            if not here:
                return

    def window(self):
        """Acts until told to stop, then tells what was there all the time."""
        for message in self.messages:
            message[3:] = [True, True]
        self.most, self.acts, held = +self.now, 0, dict(self.now)
        print("open", flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            self.act()
        assert sys.stdin.readline() == "close\n"
        throughout = [[m[0], m[1], m[4]] for m in self.messages if m[3]]
        account = {"throughout": throughout, "held": held, "most": self.most, "acts": self.acts}
        print(json.dumps(account), flush=True)


def churn(port, user, client, count):
    client = Churn(port, user, client, count)
    print("ready", flush=True)
    while sys.stdin.readline() == "open\n":
        client.window()


def command(port, user, *commands):
    imap = login(port, user)
    for line in commands:
        name, *rest = line.split(" ", 1)
        check(imap.select(*rest) if name == "SELECT" else imap._simple_command(name, *rest))
    imap.logout()


def idle(port, user):
    """Waits in INBOX until it was told of as many messages as stdin says; tells what it sees before and after."""
    imap = login(port, user)

    def see():
        rows = check(imap.uid("fetch", "1:*", "(FLAGS)"))
        return {
            int(re.search(rb"UID (\d+)", row)[1]): re.search(rb"FLAGS \(([^)]*)\)", row)[1].decode().split()
            for row in rows
        }

    count = int(check(imap.select("INBOX"))[0])
    before = see()
    imap.send(b"idle IDLE\r\n")
    assert imap.readline().startswith(b"+")
    print("ready", flush=True)
    awaited = int(sys.stdin.readline())
    while count != awaited:
        line = imap.readline()
        assert re.match(rb"\* (\d+ (EXISTS|EXPUNGE|RECENT|FETCH)|FLAGS|OK) ?", line), line
        _, number, what = (line.split() + [b""])[:3]
        count = int(number) if what == b"EXISTS" else count - (what == b"EXPUNGE")
    imap.send(b"DONE\r\n")
    while not imap.readline().startswith(b"idle OK"):
        pass
    check(imap.noop())
    imap.untagged_responses.clear()
    print(json.dumps({"before": before, "after": see()}), flush=True)


def hold(port, user):
    """Keeps INBOX open, and tells what each UID that it has seen names when it is asked for again."""
    imap = login(port, user)
    check(imap.select("INBOX"))
    uids = [int(uid) for uid in check(imap.uid("search", "ALL"))[0].split()]
    print("ready", flush=True)
    for _ in sys.stdin:
        named = {}
        for uid in uids:
            try:
                rows = check(imap.uid("fetch", str(uid), "(UID BODY.PEEK[])"))
            except (imaplib.IMAP4.error, OSError):
                continue
            named.update({uid: hashlib.sha256(row[1]).hexdigest() for row in rows if isinstance(row, tuple)})
        print(json.dumps(named), flush=True)


verbs = {"deliver": deliver, "use": use, "dump": dump, "churn": churn, "command": command, "idle": idle, "hold": hold}
verbs[sys.argv[1]](*sys.argv[2:])
