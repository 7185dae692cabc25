//! What is inside a message: short and long texts, newsletters, attachments, pictures, forwarded
//! mail and machine reports, in about the shares and sizes of an office.

use anyhow::Result;
use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Attachment, Body, MultiPart, MultiPartBuilder, SinglePart};

use super::message::Scribe;
use super::rng::Rng;

/// The body of a message.
pub(crate) enum Content {
    Multi(MultiPart),
    Single(SinglePart),
}

/// Makes the next body.
pub(crate) fn make(rng: &mut Rng, scribe: &Scribe) -> Result<Content> {
    match rng.below(100) {
        0..44 => {
            let sentences = rng.skewed(2, 60);
            Ok(Content::Single(scribe.plain(scribe.text(rng, sentences))?))
        }
        44..45 => Ok(Content::Single(scribe.plain(String::new())?)),
        45..57 => Ok(Content::Single(scribe.plain(thread(rng, scribe))?)),
        57..78 => {
            let items = 2 + rng.below(14);
            Ok(Content::Multi(newsletter(rng, scribe, Length::Items(items))))
        }
        78..89 => {
            let bytes = rng.skewed(6_000, 160_000);
            with_document(rng, scribe, bytes as usize)
        }
        89..93 => {
            let rows = rng.skewed(50, 1_500);
            with_table(rng, scribe, Length::Items(rows))
        }
        93..97 => {
            let bytes = rng.skewed(2_000, 40_000);
            Ok(Content::Multi(with_picture(rng, scribe, bytes as usize)))
        }
        _ => forward(rng, scribe),
    }
}

/// What a body mainly is, where that can have any size.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Newsletter,
    Document,
    Table,
    Picture,
}

/// Makes a body of a kind whose main part has about `bytes` before it is encoded.
pub(crate) fn of_kind(kind: Kind, rng: &mut Rng, scribe: &Scribe, bytes: usize) -> Result<Content> {
    match kind {
        Kind::Text => Ok(Content::Single(scribe.plain(scribe.filled(rng, bytes))?)),
        Kind::Newsletter => Ok(Content::Multi(newsletter(rng, scribe, Length::Bytes(bytes)))),
        Kind::Document => with_document(rng, scribe, bytes),
        Kind::Table => with_table(rng, scribe, Length::Bytes(bytes)),
        Kind::Picture => Ok(Content::Multi(with_picture(rng, scribe, bytes))),
    }
}

/// How long something is that is made of many like things.
#[derive(Debug, Clone, Copy)]
enum Length {
    Items(u64),
    /// As many as go into it; `rest` then fills it.
    Bytes(usize),
}

impl Length {
    fn has_room(self, items: u64, bytes: usize, item_bytes: usize) -> bool {
        match self {
            Self::Items(most) => items < most,
            Self::Bytes(most) => bytes + item_bytes < most,
        }
    }

    fn rest(self, bytes: usize) -> usize {
        match self {
            Self::Items(_) => 0,
            Self::Bytes(most) => most.saturating_sub(bytes),
        }
    }
}

/// A conversation, each answer with the one before it quoted.
fn thread(rng: &mut Rng, scribe: &Scribe) -> String {
    let mut text = String::new();
    for _ in 0..2 + rng.below(6) {
        let quoted: String = text.lines().map(|line| format!("> {line}\n")).collect();
        let sentences = rng.skewed(2, 20);
        text = format!("{}\n{}:\n{quoted}", scribe.text(rng, sentences), scribe.sentence(rng));
    }
    text
}

fn newsletter(rng: &mut Rng, scribe: &Scribe, length: Length) -> MultiPart {
    let mut html = String::from(STYLE);
    let mut plain = String::new();
    let mut item = 0;
    while length.has_room(item, html.len() + plain.len(), 2_000) {
        let (title, sentences) = (scribe.sentence(rng), 1 + rng.below(5));
        let body = scribe.text(rng, sentences);
        let (link, picture) = (rng.hex(), rng.hex());
        html.push_str(&format!(
            "<tr><td class=\"item\"><img src=\"https://img.shop.example/{picture}.jpg\" alt=\"\">\
             <h2 style=\"font-size:18px;color:#224\">{title}</h2>\n<p>{body}</p>\n\
             <a href=\"https://shop.example/c/{link}?utm_source=mail&amp;utm_item={item}\">→</a>\
             </td></tr>\n"
        ));
        plain.push_str(&format!("* {title}\n{body}  https://shop.example/c/{link}\n\n"));
        item += 1;
    }
    plain.push_str(&scribe.filled(rng, length.rest(html.len() + plain.len())));
    html.push_str("</table></body></html>\n");
    bounded(rng, MultiPart::alternative())
        .singlepart(SinglePart::plain(plain))
        .singlepart(SinglePart::html(html))
}

/// A document that does not compress, as PDF and Office files do not.
fn with_document(rng: &mut Rng, scribe: &Scribe, bytes: usize) -> Result<Content> {
    let mut document = b"%PDF-1.7\n".to_vec();
    document.extend(rng.bytes(bytes));
    let name = format!("{}.pdf", rng.pick(scribe.language.words));
    let document = Attachment::new(name).body(document, ContentType::parse("application/pdf")?);
    let sentences = rng.skewed(1, 10);
    let text = scribe.plain(scribe.text(rng, sentences))?;
    Ok(Content::Multi(bounded(rng, MultiPart::mixed()).singlepart(text).singlepart(document)))
}

/// A report of a machine: a table with many rows, which compresses well.
fn with_table(rng: &mut Rng, scribe: &Scribe, length: Length) -> Result<Content> {
    let mut table = String::from("time;host;service;status;milliseconds\n");
    let mut row = 0;
    while length.has_room(row, table.len(), 50) {
        table.push_str(&format!(
            "{};web{:02};checkout;{};{}\n",
            1_767_000_000 + row * 60,
            rng.below(12),
            if rng.chance(97) { "ok" } else { "timeout" },
            rng.skewed(3, 4_000)
        ));
        row += 1;
    }
    table.push_str(&"#".repeat(length.rest(table.len())));
    let table = Attachment::new("report.csv".into()).body(table, ContentType::parse("text/csv")?);
    let text = scribe.plain(scribe.text(rng, 2))?;
    Ok(Content::Multi(bounded(rng, MultiPart::mixed()).singlepart(text).singlepart(table)))
}

fn with_picture(rng: &mut Rng, scribe: &Scribe, bytes: usize) -> MultiPart {
    let mut picture = b"\x89PNG\r\n\x1a\n".to_vec();
    picture.extend(rng.bytes(bytes));
    let id = rng.hex();
    let html = format!(
        "{STYLE}<tr><td>{}<img src=\"cid:{id}\"></td></tr></table></body></html>\n",
        scribe.text(rng, 3)
    );
    let png = ContentType::parse("image/png").unwrap_or(ContentType::TEXT_PLAIN);
    bounded(rng, MultiPart::related())
        .singlepart(SinglePart::html(html))
        .singlepart(Attachment::new_inline(id).body(picture, png))
}

/// A message inside a message.
fn forward(rng: &mut Rng, scribe: &Scribe) -> Result<Content> {
    let inner = format!(
        "From: <news@example.com>\r\nTo: <all@example.net>\r\nMessage-ID: <{}@example.com>\r\n\
         Subject: original\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\n\r\n{}",
        rng.hex(),
        scribe.text(rng, 12).replace('\n', "\r\n")
    );
    let body = Body::dangerous_pre_encoded(inner.into(), ContentTransferEncoding::EightBit);
    let inner =
        SinglePart::builder().content_type(ContentType::parse("message/rfc822")?).body(body);
    let text = scribe.plain(scribe.text(rng, 1))?;
    Ok(Content::Multi(bounded(rng, MultiPart::mixed()).singlepart(text).singlepart(inner)))
}

/// lettre's own boundaries are random, which no seed reaches.
fn bounded(rng: &mut Rng, builder: MultiPartBuilder) -> MultiPartBuilder {
    builder.boundary(format!("=_{}{}", rng.hex(), rng.hex()))
}

const STYLE: &str = "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><style>\n\
    body { margin: 0; font-family: Helvetica, Arial, sans-serif; background: #f4f4f4; }\n\
    table.main { width: 600px; border-collapse: collapse; background: #ffffff; }\n\
    td.item { padding: 16px 24px; border-bottom: 1px solid #dddddd; line-height: 1.5; }\n\
    a { color: #0a5fb4; text-decoration: none; }\n\
    </style></head>\n<body><table class=\"main\" align=\"center\">\n";
