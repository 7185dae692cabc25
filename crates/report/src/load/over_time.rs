//! The run in time: latency, rate, the server's queue and open connections, all on the same clock
//! and over the same phases of the plan.

use super::{Interval, Page, latency};
use crate::html::{self, Column, Table};
use crate::human;
use crate::plot::{self, Axis, Band, Line, Plot, Point, Rule, Scale};

/// The plots of whatever was measured.
pub(super) fn sections(page: &Page) -> String {
    if page.intervals.is_empty() {
        return String::new();
    }
    [latency_over_time(page), rate(page), queue(page), open(page)].concat()
}

fn latency_over_time(page: &Page) -> String {
    let of = |value: fn(&Interval) -> Option<u64>| points(page, |row| value(row).map(as_float));
    let lines = vec![
        Line { name: "max", ink: "s4", points: of(|row| row.max_us) },
        Line { name: "p99", ink: "s1", points: of(|row| row.p99_us) },
        Line { name: "p50", ink: "s3", points: of(|row| row.p50_us) },
    ];
    let limit_us = page.response_limit_us.map(as_float);
    let y = Axis { scale: Scale::log(values(&lines).chain(limit_us)), label: human::tick_us };
    let chart = Chart {
        id: "latency-over-time",
        title: "Response time over time",
        lead: "Of the messages that ended in each interval; logarithmic.",
        y,
        lines,
        rules: page.response_limit_us.map(latency::limit).into_iter().collect(),
    };
    section(page, chart, &[P50, P99, MAX], |us| human::us(us as u64))
}

fn rate(page: &Page) -> String {
    let mut lines = vec![
        Line { name: "asked", ink: "s0", points: points(page, |row| row.asked_per_s) },
        Line { name: "accepted", ink: "s1", points: points(page, |row| Some(row.accepted_per_s)) },
    ];
    let mut columns = vec![ASKED, ACCEPTED];
    let delivered = points(page, |row| row.delivered_per_s);
    if delivered.iter().any(Option::is_some) {
        lines.push(Line { name: "delivered", ink: "s3", points: delivered });
        columns.push(DELIVERED);
    }
    let chart = Chart {
        id: "rate-over-time",
        title: "Rate over time",
        lead: "Messages a second: what the plan asked for, and what the server took.",
        y: Axis { scale: Scale::linear(values(&lines)), label: human::tick_per_s },
        lines,
        rules: Vec::new(),
    };
    section(page, chart, &columns, human::per_s)
}

fn queue(page: &Page) -> String {
    let depth = points(page, |row| row.queue.map(as_float));
    let mut lines = vec![Line { name: "messages queued", ink: "s1", points: depth }];
    let mut lead = "Messages in the server’s queue.".to_owned();
    if let Some(queue) = &page.queue {
        let rise = queue.slope_per_s * (queue.to_s - queue.from_s);
        let line = [(queue.from_s, queue.from_depth), (queue.to_s, queue.from_depth + rise)];
        lines.push(Line { name: "slope", ink: "s2 dashed", points: line.map(Some).to_vec() });
        let slope = human::slope(queue.slope_per_s);
        let slope = html::float("queue.slope.per_s", queue.slope_per_s, &slope);
        let source = html::text(&queue.source);
        lead = format!("Messages in the server’s queue ({source}). Slope: <b>{slope}</b>.");
    }
    let chart = Chart {
        id: "queue-over-time",
        title: "Queue over time",
        lead: &lead,
        y: Axis { scale: Scale::linear(values(&lines)), label: human::tick },
        lines,
        rules: Vec::new(),
    };
    section(page, chart, &[QUEUE], human::tick)
}

fn open(page: &Page) -> String {
    let open = points(page, |row| row.open.map(as_float));
    let lines = vec![Line { name: "connections open", ink: "s1", points: open }];
    let chart = Chart {
        id: "open-over-time",
        title: "Connections over time",
        lead: "Connections open at the end of each interval.",
        y: Axis { scale: Scale::linear(values(&lines)), label: human::tick },
        lines,
        rules: Vec::new(),
    };
    section(page, chart, &[OPEN], human::tick)
}

/// What differs from plot to plot.
struct Chart<'a> {
    id: &'a str,
    title: &'a str,
    /// HTML.
    lead: &'a str,
    y: Axis,
    lines: Vec<Line<'a>>,
    rules: Vec<Rule>,
}

/// A column of the numbers behind a plot.
#[derive(Clone, Copy)]
struct Cell {
    name: &'static str,
    of: fn(&Interval) -> Option<f64>,
}

/// The plot, unless it has nothing to show.
fn section(page: &Page, chart: Chart<'_>, cells: &[Cell], show: fn(f64) -> String) -> String {
    if chart.lines.iter().all(|line| line.points.iter().all(Option::is_none)) {
        return String::new();
    }
    let end_s = end_s(page);
    let label = if end_s < 60.0 { human::seconds } else { human::clock };
    let names: Vec<&str> = page.stages.iter().map(|stage| stage.name.as_str()).collect();
    let phases = if names.is_empty() {
        String::new()
    } else {
        format!(" Phases of the plan: {}.", names.join(", "))
    };
    let drawn: Vec<&str> = chart.lines.iter().map(|line| line.name).collect();
    let desc = format!("Over {}: {}.{phases}", label(end_s), drawn.join(", "));
    let plot = plot::html(&Plot {
        id: chart.id,
        title: chart.title,
        desc: &desc,
        x: Axis { scale: Scale::time(end_s), label },
        y: chart.y,
        bands: bands(page),
        lines: chart.lines,
        rules: chart.rules,
        marks: Vec::new(),
    });
    let data = html::details("Data", &data(page, chart.title, cells, show));
    let shaded = if bands(page).iter().any(|band| band.is_shaded) { SHADED } else { "" };
    let lead = format!("{}{shaded}", chart.lead);
    html::section(&format!("{}-section", chart.id), chart.title, &lead, &(plot + &data))
}

/// Where the last interval ends.
fn end_s(page: &Page) -> f64 {
    let at = |index: usize| page.intervals.get(index).map(|row| row.at_s);
    let last = page.intervals.len() - 1;
    let step = last.checked_sub(1).and_then(|before| Some(at(last)? - at(before)?));
    let end = at(last).unwrap_or_default() + step.unwrap_or(1.0);
    let stages = page.stages.iter().map(|stage| stage.to_s).filter(|to_s| to_s.is_finite());
    stages.fold(end, f64::max)
}

fn bands(page: &Page) -> Vec<Band<'_>> {
    let bands = page.stages.iter().map(|stage| Band {
        name: &stage.name,
        from: stage.from_s,
        to: stage.to_s,
        is_shaded: stage.is_warmup,
    });
    let mut bands: Vec<Band<'_>> = bands.collect();
    let warm = page.intervals.iter().take_while(|row| row.is_warmup).count();
    // Without phases the intervals themselves know where the warm-up ends.
    if bands.is_empty() && warm > 0 {
        let to = page.intervals.get(warm).map_or(end_s(page), |row| row.at_s);
        bands.push(Band { name: "warm-up", from: 0.0, to, is_shaded: true });
    }
    bands
}

fn points(page: &Page, value: impl Fn(&Interval) -> Option<f64>) -> Vec<Point> {
    page.intervals.iter().map(|row| value(row).map(|value| (row.at_s, value))).collect()
}

fn values<'a>(lines: &'a [Line<'_>]) -> impl Iterator<Item = f64> + 'a {
    lines.iter().flat_map(|line| line.points.iter().flatten()).map(|(_, y)| *y)
}

/// One row for so many intervals that there are not too many; it shows the highest of each.
fn data(page: &Page, caption: &str, cells: &[Cell], show: fn(f64) -> String) -> String {
    let every = page.intervals.len().div_ceil(MOST_ROWS);
    let caption = match every {
        1 => caption.to_owned(),
        _ => format!("{caption}: each row is the highest of {every} intervals"),
    };
    let mut columns = vec![Column::Words("From")];
    columns.extend(cells.iter().map(|cell| Column::Number(cell.name)));
    let mut table = Table::new(&caption, &columns);
    for rows in page.intervals.chunks(every) {
        let at_s = rows.first().map_or(0.0, |row| row.at_s);
        let mut row = vec![human::clock(at_s)];
        row.extend(cells.iter().map(|cell| {
            let highest = rows.iter().filter_map(cell.of).reduce(f64::max);
            highest.map_or(human::NONE.to_owned(), show)
        }));
        table.row(&row);
    }
    table.html()
}

fn as_float(n: u64) -> f64 {
    n as f64
}

const P50: Cell = Cell { name: "p50", of: |row| row.p50_us.map(as_float) };
const P99: Cell = Cell { name: "p99", of: |row| row.p99_us.map(as_float) };
const MAX: Cell = Cell { name: "max", of: |row| row.max_us.map(as_float) };
const ASKED: Cell = Cell { name: "asked", of: |row| row.asked_per_s };
const ACCEPTED: Cell = Cell { name: "accepted", of: |row| Some(row.accepted_per_s) };
const DELIVERED: Cell = Cell { name: "delivered", of: |row| row.delivered_per_s };
const QUEUE: Cell = Cell { name: "queued", of: |row| row.queue.map(as_float) };
const OPEN: Cell = Cell { name: "open", of: |row| row.open.map(as_float) };

const SHADED: &str = " Shaded: warm-up.";
const MOST_ROWS: usize = 120;
