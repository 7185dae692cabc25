//! The phases of a conversation: a waterfall of their medians, and a table with their tails.

use super::{Page, Phase};
use crate::html::{self, Column, Table, text};
use crate::plot::{self, Axis, Scale, percent};
use crate::{human, load::figures};

/// Waterfall and table.
pub(super) fn section(page: &Page) -> String {
    let phases: Vec<&Phase> =
        page.phases.iter().filter(|phase| phase.us.count > 0).take(MOST_PHASES).collect();
    if phases.is_empty() {
        return String::new();
    }
    let inner = format!("<div class=phases>{}{}</div>", waterfall(&phases), table(&phases));
    html::section("phases", "Phases of a conversation", LEAD, &inner)
}

/// A bar: where it starts and how long it is, in microseconds.
type Bar<'a> = (&'a Phase, u64, u64);

/// Places the bars after each other; of two alternatives the more frequent one makes the way.
fn bars<'a>(phases: &[&'a Phase]) -> Vec<Bar<'a>> {
    let (mut bars, mut end): (Vec<Bar<'_>>, u64) = (Vec::new(), 0);
    for phase in phases {
        let before = bars.last().copied().filter(|_| phase.is_alternative);
        let (start, next) = match before {
            Some((other, start, _)) if phase.us.count > other.us.count => {
                (start, start.saturating_add(phase.us.p50))
            }
            Some((_, start, _)) => (start, end),
            None => (end, end.saturating_add(phase.us.p50)),
        };
        bars.push((phase, start, phase.us.p50));
        end = next;
    }
    bars
}

fn waterfall(phases: &[&Phase]) -> String {
    let bars = bars(phases);
    let ends = bars.iter().map(|(_, start, length)| start.saturating_add(*length) as f64);
    let scale = Scale::linear(ends);
    let mut inner = String::new();
    for (at, label, class) in plot::labels(&Axis { scale, label: human::tick_us }) {
        let (x, grid) = (percent(at), if class == "x" { "grid" } else { "grid wide" });
        inner.push_str(&format!(
            "<line class=\"{grid}\" x1={x} x2={x} y2=100% />\
             <text class=\"{class}\" x={x} y=100% dy=1.7em>{}</text>",
            text(&label)
        ));
    }
    for (row, bar) in bars.iter().enumerate() {
        inner.push_str(&bar_row(&scale, row, bar));
    }
    let words = bars.iter().map(|(phase, _, us)| format!("{} {}", phase.name, human::us(*us)));
    let desc = format!("Medians: {}", words.collect::<Vec<_>>().join(", "));
    let style = format!("height:{}px", bars.len() * ROW + 6);
    let svg = plot::svg("waterfall", "Waterfall of the phases", &desc, &style, &inner);
    format!("<div class=\"plot waterfall\">{svg}</div>")
}

fn bar_row(scale: &Scale, row: usize, (phase, start, length): &Bar<'_>) -> String {
    let at = |us: u64| scale.at(us as f64).unwrap_or_default();
    let (from, to) = (at(*start), at(start.saturating_add(*length)));
    let middle = row * ROW + ROW / 2 + 3;
    // The number stands after the bar, before it, or in it: where there is room.
    let (x, dx, class) = match (from, to) {
        (_, to) if to < 0.75 => (to, 6, "v"),
        (from, _) if from > 0.25 => (from, -6, "v end"),
        _ => (to, -6, "v in end"),
    };
    let ink = if phase.is_alternative { "s2" } else { "s1" };
    format!(
        "<text class=y dx=-8 y={middle} dy=.33em>{name}</text><rect class=\"bar {ink}\" x={x0} \
         y={top} width={width} height=14 rx=2 /><text class=\"{class}\" x={x} dx={dx} y={middle} \
         dy=.33em>{us}</text>",
        name = text(&label(&phase.name)),
        x0 = percent(from),
        width = percent(to - from),
        top = middle - 7,
        x = percent(x),
        us = human::us(*length),
    )
}

fn table(phases: &[&Phase]) -> String {
    let names = ["Count", "Mean", "p50", "p90", "p99", "p99.9", "Max", "Share"];
    let mut columns = vec![Column::Words("Phase")];
    columns.extend(names.map(Column::Number));
    let mut table = Table::new("Phases of a conversation", &columns);
    let spent = |phase: &Phase| phase.us.mean * phase.us.count as f64;
    let all: f64 = phases.iter().map(|phase| spent(phase)).filter(|us| us.is_finite()).sum();
    for phase in phases {
        let (key, us) = (&phase.key, &phase.us);
        let percentile = |name, value| figures::percentile(key, name, value);
        table.row(&[
            text(&label(&phase.name)),
            html::value(&format!("{key}.count"), us.count, &human::count(us.count)),
            human::us(us.mean.round() as u64),
            percentile("p50", us.p50),
            percentile("p90", us.p90),
            percentile("p99", us.p99),
            percentile("p999", us.p999),
            percentile("max", us.max),
            human::share(spent(phase) / all),
        ]);
    }
    table.html()
}

fn label(name: &str) -> String {
    name.replace('_', " ")
}

const LEAD: &str = "Medians after each other, as one conversation goes through them; commands that are \
                    sent together (pipelining) wait together, so the whole is shorter then. A phase \
                    of a connection has fewer values than one of a message. Share: of all the time \
                    that was spent in phases.";

/// The height of a row, in pixels.
const ROW: usize = 24;
const MOST_PHASES: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Percentiles;

    fn phase(name: &str, count: u64, p50: u64) -> Phase {
        let us = Percentiles { count, p50, ..Percentiles::default() };
        let is_alternative = name == "tls_resumed";
        Phase { name: name.into(), is_alternative, us, ..Phase::default() }
    }

    #[test]
    fn alternatives_start_together() {
        for (full, resumed, banner_us) in [(10, 90, 110), (90, 10, 400)] {
            let phases = [
                phase("connect", 100, 100),
                phase("tls_full", full, 300),
                phase("tls_resumed", resumed, 10),
                phase("banner", 100, 5),
            ];
            let phases: Vec<&Phase> = phases.iter().collect();
            let starts: Vec<u64> = bars(&phases).iter().map(|(_, start, _)| *start).collect();
            assert_eq!(starts, [0, 100, 100, banner_us]);
        }
    }

    #[test]
    fn endless_phases_do_not_overflow() {
        let phases = [phase("a", 1, u64::MAX), phase("b", 1, u64::MAX)];
        let drawn = waterfall(&phases.iter().collect::<Vec<_>>());
        assert!(!drawn.contains("NaN"), "{drawn}");
    }
}
