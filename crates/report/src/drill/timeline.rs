//! The run in time as inline SVG: attempts as stacked bars, the phases behind them, a lane for
//! steps, and a lane for each outage. Widths are percentages, heights are pixels.

use std::fmt::Write as _;

use super::{Outage, Page, Second};
use crate::html::{self, text};
use crate::human;
use crate::plot::{self, Axis, Scale, percent};

/// The run in time; nothing without anything that has a time.
pub(super) fn section(page: &Page) -> String {
    let end_us = end_us(page);
    if end_us == 0 {
        return String::new();
    }
    let bars = bars(&page.seconds, end_us);
    let x = Scale::time(end_us as f64 / 1e6);
    let lanes = page.outages.len().min(MOST_LANES);
    let height = LANES_PX + lanes as f64 * LANE_PX;
    let inner =
        [phases(page, x), grid(&bars, x), stacks(&bars, end_us), steps(page, x), outages(page, x)];
    let style = format!("height:{height}px");
    let svg = plot::svg("timeline-svg", TITLE, &words(page), &style, &inner.concat());
    let bar = human::us(bar_us(end_us));
    let lead = format!("Attempts, each bar {bar}; below them steps, and outages by service.");
    let hidden = match page.outages.len().saturating_sub(MOST_LANES) {
        0 => String::new(),
        n => format!("<p class=lead>And {} more outages.</p>", human::count(n as u64)),
    };
    let inner = format!("{LEGEND}<div class=\"plot timeline\">{svg}</div>{hidden}");
    html::section("timeline", "Timeline", &lead, &inner)
}

/// The last moment of all that is drawn.
fn end_us(page: &Page) -> u64 {
    let seconds = page.seconds.iter().map(|second| second.at_us.saturating_add(u64::from(BAR_US)));
    let phases = page.phases.iter().map(|phase| phase.to_us);
    let steps = page.steps.iter().map(|step| step.at_us);
    let outages = page.outages.iter().flat_map(|outage| {
        marks(outage).into_iter().filter_map(|(_, at, _)| at).chain([outage.fault_us])
    });
    let all = seconds.chain(phases).chain(steps).chain(outages);
    all.chain([page.identity.duration_us]).max().unwrap_or(0)
}

/// How long a bar is: whole seconds, so that there are at most `MOST_BARS`.
fn bar_us(end_us: u64) -> u64 {
    let second = u64::from(BAR_US);
    end_us.div_ceil(second).div_ceil(MOST_BARS).max(1).saturating_mul(second)
}

/// Attempts by bar: accepted, in doubt, failed, from the bottom up.
fn bars(seconds: &[Second], end_us: u64) -> Vec<[u64; 3]> {
    let bar_us = bar_us(end_us);
    let mut bars = vec![[0_u64; 3]; end_us.div_ceil(bar_us) as usize];
    for second in seconds {
        let Some(bar) = bars.get_mut((second.at_us / bar_us) as usize) else { continue };
        let of = [second.accepted, second.in_doubt, second.failed];
        for (sum, n) in bar.iter_mut().zip(of) {
            *sum = sum.saturating_add(n);
        }
    }
    bars
}

fn height(bar: &[u64; 3]) -> f64 {
    bar.iter().map(|n| *n as f64).sum()
}

/// One path for each of the three, in a stretched inner SVG.
fn stacks(bars: &[[u64; 3]], end_us: u64) -> String {
    let scale = Scale::linear(bars.iter().map(height));
    let width = SIDE * bar_us(end_us) as f64 / end_us as f64;
    let mut paths = [String::new(), String::new(), String::new()];
    for (index, bar) in bars.iter().enumerate() {
        let mut below = 0.0;
        for (n, path) in bar.iter().zip(&mut paths) {
            let above = below + *n as f64;
            let (Some(from), Some(to)) = (scale.at(below), scale.at(above)) else { continue };
            below = above;
            if *n == 0 {
                continue;
            }
            let (x, y, tall) = (index as f64 * width, SIDE * (1.0 - to), SIDE * (to - from));
            // Writing to a String cannot fail.
            let _ = write!(path, "M{x:.1} {y:.1}h{width:.2}v{tall:.1}h-{width:.2}z");
        }
    }
    let paths: String = paths
        .iter()
        .zip(INKS)
        .filter(|(path, _)| !path.is_empty())
        .map(|(path, ink)| format!("<path class={ink} d=\"{path}\" />"))
        .collect();
    format!(
        "<svg class=bars height={PLOT_PX} viewBox=\"0 0 {SIDE} {SIDE}\" preserveAspectRatio=none>\
         {paths}</svg>"
    )
}

fn grid(bars: &[[u64; 3]], x: Scale) -> String {
    let y = Scale::linear(bars.iter().map(height));
    let mut drawn = String::new();
    for tick in y.ticks() {
        let Some(at) = y.at(tick) else { continue };
        let (at, label) = (PLOT_PX * (1.0 - at), human::tick(tick));
        drawn.push_str(&format!(
            "<line class=grid x2=100% y1={at:.1} y2={at:.1} /><text class=y dx=-8 y={at:.1} \
             dy=.33em>{label}</text>"
        ));
    }
    for (at, label, class) in plot::labels(&Axis { scale: x, label: human::clock }) {
        let (at, y) = (percent(at), PLOT_PX + 20.0);
        drawn.push_str(&format!(
            "<line class=\"{class} tick\" x1={at} x2={at} y1={PLOT_PX} y2={} />\
             <text class=\"{class}\" x={at} y={y}>{label}</text>",
            PLOT_PX + 5.0
        ));
    }
    drawn
}

fn phases(page: &Page, x: Scale) -> String {
    let mut drawn = String::new();
    for (index, phase) in page.phases.iter().take(MOST_PHASES).enumerate() {
        let Some((from, width)) = stretch(x, phase.from_us, phase.to_us) else { continue };
        let shade = if index % 2 == 1 { "warm" } else { "band" };
        let name = html::plain(&phase.name);
        let (start, share) = (percent(from), percent(width));
        drawn.push_str(&format!(
            "<rect class={shade} x={start} width={share} height={PLOT_PX}><title>{}</title></rect>\
             <line class=edge x1={start} x2={start} y1=-18 y2={PLOT_PX} />",
            text(&name)
        ));
        let needed = name.chars().count() as f64 * CHAR_PX + 8.0;
        if needed <= width * WIDE_PX {
            let class = if needed <= width * NARROW_PX { "b" } else { "b wide" };
            let name = text(&name);
            drawn.push_str(&format!("<text class=\"{class}\" x={start} dx=4 y=-7>{name}</text>"));
        }
    }
    drawn
}

/// Where something starts and how long it is, as shares of the whole; none: it is no stretch.
fn stretch(x: Scale, from_us: u64, to_us: u64) -> Option<(f64, f64)> {
    let at = |us: u64| x.at(us as f64 / 1e6);
    let (from, to) = (at(from_us)?, at(to_us)?);
    (to > from).then_some((from, to - from))
}

/// A dot for each step, with its number in the table where there is room; faults go through all.
fn steps(page: &Page, x: Scale) -> String {
    let mut drawn = String::new();
    let mut last = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    for (index, step) in page.steps.iter().take(super::MOST_STEPS).enumerate() {
        let Some(at) = x.at(step.at_us as f64 / 1e6) else { continue };
        let place = percent(at);
        let class = if step.is_fault { "step fault" } else { "step" };
        if step.is_fault {
            let end = LANES_PX + page.outages.len().min(MOST_LANES) as f64 * LANE_PX;
            drawn.push_str(&format!("<line class=fault x1={place} x2={place} y2={end} />"));
        }
        let hint = format!("{}. {} {}", index + 1, step.name, human::us(step.at_us));
        drawn.push_str(&format!(
            "<circle class=\"{class}\" cx={place} cy={STEPS_PX} r=4><title>{}</title></circle>",
            text(&hint)
        ));
        let has_room = |last: f64, px: f64| (at - last) * px >= 18.0;
        if has_room(last.0, WIDE_PX) {
            let class = if has_room(last.1, NARROW_PX) { "x" } else { "x wide" };
            if class == "x" {
                last.1 = at;
            }
            last.0 = at;
            let (y, n) = (STEPS_PX + 19.0, index + 1);
            drawn.push_str(&format!("<text class=\"{class}\" x={place} y={y}>{n}</text>"));
        }
    }
    drawn
}

/// A lane for each: from the fault to when it was stable, with marks for what happened between.
fn outages(page: &Page, x: Scale) -> String {
    let mut drawn = String::new();
    for (lane, outage) in page.outages.iter().take(MOST_LANES).enumerate() {
        let top = LANES_PX + lane as f64 * LANE_PX;
        let (label_y, y) = (top + 16.0, top + 28.0);
        let rto = outage.rto_us.map_or("not seen".to_owned(), human::us);
        let words = format!("{} after {}: {rto}", outage.service, outage.incident);
        drawn.push_str(&format!(
            "<line class=grid x2=100% y1={y} y2={y} /><text class=lane x=0 y={label_y}>{}</text>",
            text(&words)
        ));
        // What did not come back is away until the end.
        let end_us = match (outage.stable_us, outage.noticed_us) {
            (Some(us), _) => us,
            (None, Some(_)) => end_us(page),
            (None, None) => outage.fault_us,
        };
        if let Some((from, width)) = stretch(x, outage.fault_us, end_us) {
            let (from, to) = (percent(from), percent(from + width));
            drawn.push_str(&format!("<line class=away x1={from} x2={to} y1={y} y2={y} />"));
        }
        for (name, us, shape) in marks(outage) {
            let Some((us, at)) = us.and_then(|us| Some((us, x.at(us as f64 / 1e6)?))) else {
                continue;
            };
            let after = human::us(us.saturating_sub(outage.fault_us));
            let (at, hint) = (percent(at), text(&format!("{}: {name} +{after}", outage.service)));
            drawn.push_str(&format!(
                "<svg class=\"mark {name}\" x={at} y={y}><path d=\"{shape}\"><title>{hint}</title>\
                 </path></svg>",
                name = name.replace(' ', "-")
            ));
        }
    }
    drawn
}

/// The marks of an outage: what, when, and its shape around nothing.
fn marks(outage: &Outage) -> [(&'static str, Option<u64>, &'static str); 4] {
    [
        ("noticed", outage.noticed_us, DIAMOND),
        ("promoted", outage.promoted_us, TRIANGLE),
        ("first ok", outage.first_ok_us, CIRCLE),
        ("stable", outage.stable_us, SQUARE),
    ]
}

/// What there is to see, for those who do not see it.
fn words(page: &Page) -> String {
    let sum = |of: fn(&Second) -> u64| {
        human::count(page.seconds.iter().map(of).fold(0, u64::saturating_add))
    };
    let phases = page.phases.iter().take(MOST_PHASES);
    let phases: Vec<String> =
        phases.map(|phase| format!("{} from {}", phase.name, human::us(phase.from_us))).collect();
    format!(
        "{} attempts accepted, {} in doubt, {} failed. {}",
        sum(|second| second.accepted),
        sum(|second| second.in_doubt),
        sum(|second| second.failed),
        phases.join(", ")
    )
}

const TITLE: &str = "Attempts over time, with steps and outages";

const LEGEND: &str = "<p class=legend><span><i class=a></i>accepted</span><span><i class=d></i>in \
                      doubt</span><span><i class=e></i>failed</span><span><b class=bad>┃</b>fault\
                      </span><span><svg class=\"mark noticed\"><path d=\"M0 -5L5 0L0 5L-5 0z\" />\
                      </svg>noticed</span><span><svg class=\"mark promoted\"><path d=\"M0 -5L5 4H-5\
                      z\" /></svg>promoted</span><span><svg class=\"mark first-ok\"><path d=\"M-4 \
                      0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z\" /></svg>first ok</span><span><svg \
                      class=\"mark stable\"><path d=\"M-4 -4H4V4H-4z\" /></svg>stable</span></p>";
const DIAMOND: &str = "M0 -5L5 0L0 5L-5 0z";
const TRIANGLE: &str = "M0 -5L5 4H-5z";
const CIRCLE: &str = "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z";
const SQUARE: &str = "M-4 -4H4V4H-4z";

/// The inks of what a bar is made of, from the bottom up.
const INKS: [&str; 3] = ["a", "d", "e"];

/// The shortest bar.
const BAR_US: u32 = 1_000_000;
const MOST_BARS: u64 = 3_600;
const MOST_PHASES: usize = 50;
const MOST_LANES: usize = 24;

/// Where the bars end, where steps stand, and where the lanes begin.
const PLOT_PX: f64 = 180.0;
const STEPS_PX: f64 = 222.0;
const LANES_PX: f64 = 252.0;
const LANE_PX: f64 = 36.0;
/// Of the inner SVG, in its own units.
const SIDE: f64 = 10_000.0;
/// How wide a plot is on a wide page and on a narrow one, and a character.
const WIDE_PX: f64 = 900.0;
const NARROW_PX: f64 = 290.0;
const CHAR_PX: f64 = 7.0;
