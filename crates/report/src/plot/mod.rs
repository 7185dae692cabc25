//! Plots as inline SVG without a viewBox: places are percentages, so that a plot fills whatever
//! width there is while its texts keep their size. Only the lines are in a stretched inner SVG.

mod points;
mod scale;

use crate::html;
pub(crate) use points::Point;
pub(crate) use scale::Scale;

/// A plot; bands, lines, rules and marks lie on each other in this order.
#[derive(Debug)]
pub(crate) struct Plot<'a> {
    /// Unique in the page.
    pub(crate) id: &'a str,
    /// What it is, in some words.
    pub(crate) title: &'a str,
    /// What there is to see, for those who do not see it.
    pub(crate) desc: &'a str,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) bands: Vec<Band<'a>>,
    pub(crate) lines: Vec<Line<'a>>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) marks: Vec<Mark>,
}

/// A scale, and how its ticks are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axis {
    pub(crate) scale: Scale,
    pub(crate) label: fn(f64) -> String,
}

/// A stretch of the x axis with a name above it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Band<'a> {
    pub(crate) name: &'a str,
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) is_shaded: bool,
}

/// A line; its ink is a class of the style sheet, `s1` to `s4`.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    pub(crate) ink: &'static str,
    pub(crate) points: Vec<Point>,
}

/// A straight dashed line through the whole plot, with a few words at it: what is asked runs along
/// the x axis, what holds along the y axis.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) at: At,
    pub(crate) label: String,
}

/// Which of the two values of a rule is fixed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At {
    X(f64),
    Y(f64),
}

/// A point that is looked at by itself.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) is_good: bool,
    /// Shown by the browser when pointed at.
    pub(crate) hint: String,
}

/// The plot with its legend.
pub(crate) fn html(plot: &Plot<'_>) -> String {
    let named = plot.lines.iter().filter(|line| !line.name.is_empty());
    let keys: String = named
        .map(|line| format!("<span><i class=\"{}\"></i>{}</span>", line.ink, html::text(line.name)))
        .collect();
    let legend = if keys.is_empty() { keys } else { format!("<p class=legend>{keys}</p>") };
    let inner = [bands(plot), grid(plot), lines(plot), rules(plot), marks(plot)].concat();
    format!("{legend}<div class=plot>{}</div>", svg(plot.id, plot.title, plot.desc, "", &inner))
}

/// The outer element, with what a screen reader says of it; `style` may set a height.
pub(crate) fn svg(id: &str, title: &str, desc: &str, style: &str, inner: &str) -> String {
    let style = if style.is_empty() { String::new() } else { format!(" style=\"{style}\"") };
    format!(
        "<svg role=\"img\" aria-labelledby=\"{id}-t {id}-d\"{style}><title id=\"{id}-t\">{}\
         </title><desc id=\"{id}-d\">{}</desc>{inner}</svg>",
        html::text(title),
        html::text(desc)
    )
}

/// The ticks that have room for their labels, of which the class `wide` are for wide pages only.
pub(crate) fn labels(axis: &Axis) -> Vec<(f64, String, &'static str)> {
    let ticks = axis.scale.ticks();
    let placed = ticks.iter().filter_map(|tick| Some((axis.scale.at(*tick)?, (axis.label)(*tick))));
    let mut placed: Vec<(f64, String)> = placed.collect();
    let is_even = !matches!(axis.scale, Scale::Percentile { .. });
    let wide = with_room(&placed, WIDE, is_even);
    placed = wide.into_iter().map(|index| placed[index].clone()).collect();
    // Of those, so that they are even still.
    let narrow = with_room(&placed, NARROW, is_even);
    let class = |index| if narrow.contains(&index) { "x" } else { "x wide" };
    let labels = placed.into_iter().enumerate();
    labels.map(|(index, (at, label))| (at, label, class(index))).collect()
}

/// Which labels do not touch each other on so many pixels: each, each second, each third; or where
/// the ticks are not even, each that has room after the one before.
fn with_room(placed: &[(f64, String)], pixels: f64, is_even: bool) -> Vec<usize> {
    let half = |index: usize| text_width(&placed[index].1) / 2.0 + 5.0;
    let has_room = |before: usize, index: usize| {
        (placed[index].0 - placed[before].0) * pixels >= half(before) + half(index)
    };
    if is_even {
        let every = |step: usize| (0..placed.len()).step_by(step).collect::<Vec<_>>();
        let fits = |kept: &Vec<usize>| kept.windows(2).all(|pair| has_room(pair[0], pair[1]));
        return (1..=placed.len()).map(every).find(fits).unwrap_or_default();
    }
    let mut kept: Vec<usize> = Vec::new();
    for index in 0..placed.len() {
        if kept.last().is_none_or(|before| has_room(*before, index)) {
            kept.push(index);
        }
    }
    kept
}

/// A share of a length, as SVG wants it.
pub(crate) fn percent(at: f64) -> String {
    let digits = format!("{:.2}", at * 100.0);
    format!("{}%", digits.trim_end_matches('0').trim_end_matches('.'))
}

fn bands(plot: &Plot<'_>) -> String {
    let mut drawn = String::new();
    for band in plot.bands.iter().take(MOST_BANDS) {
        let scale = &plot.x.scale;
        let (Some(from), Some(to)) = (scale.at(band.from), scale.at(band.to)) else { continue };
        if to <= from {
            continue;
        }
        let (x, width) = (percent(from), percent(to - from));
        let name = html::text(band.name);
        let shade = if band.is_shaded { "warm" } else { "band" };
        drawn.push_str(&format!("<rect class={shade} x={x} width={width} height=100% />"));
        let needed = text_width(band.name) + 6.0;
        if needed <= (to - from) * WIDE {
            let class = if needed <= (to - from) * NARROW { "b" } else { "b wide" };
            drawn.push_str(&format!("<text class=\"{class}\" x={x} dx=4 y=-7>{name}</text>"));
        }
        if from > 0.0 {
            drawn.push_str(&format!("<line class=edge x1={x} x2={x} y1=-18 y2=100% />"));
        }
    }
    drawn
}

fn grid(plot: &Plot<'_>) -> String {
    let mut drawn = String::new();
    for tick in plot.y.scale.ticks() {
        let Some(at) = plot.y.scale.at(tick) else { continue };
        let (y, label) = (percent(1.0 - at), html::text(&(plot.y.label)(tick)));
        drawn.push_str(&format!(
            "<line class=grid x2=100% y1={y} y2={y} /><text class=y dx=-8 y={y} dy=.33em>{label}\
             </text>"
        ));
    }
    for (at, label, class) in labels(&plot.x) {
        let (x, label) = (percent(at), html::text(&label));
        drawn.push_str(&format!(
            "<line class=\"{class} tick\" x1={x} x2={x} y1=100% y2=100% />\
             <text class=\"{class}\" x={x} y=100% dy=1.7em>{label}</text>"
        ));
    }
    drawn
}

fn lines(plot: &Plot<'_>) -> String {
    let paths: String = plot.lines.iter().map(|line| path(plot, line)).collect();
    format!("<svg class=lines viewBox=\"0 0 {SIDE} {SIDE}\" preserveAspectRatio=none>{paths}</svg>")
}

fn path(plot: &Plot<'_>, line: &Line<'_>) -> String {
    let (mut d, mut is_drawing) = (String::new(), false);
    for point in points::fewer(&line.points, MOST_POINTS) {
        let place = point.and_then(|(x, y)| Some((plot.x.scale.at(x)?, plot.y.scale.at(y)?)));
        let Some((x, y)) = place else {
            is_drawing = false;
            continue;
        };
        let (x, y) = (x * SIDE, (1.0 - y) * SIDE);
        // A first point of no length is a dot, should it have no neighbours.
        let step = if is_drawing { format!("L{x:.1} {y:.1}") } else { format!("M{x:.1} {y:.1}h0") };
        d.push_str(&step);
        is_drawing = true;
    }
    if d.is_empty() { d } else { format!("<path class=\"{}\" d=\"{d}\" />", line.ink) }
}

fn rules(plot: &Plot<'_>) -> String {
    let mut drawn = String::new();
    for rule in &plot.rules {
        let label = html::text(&rule.label);
        let one = match rule.at {
            At::Y(value) => plot.y.scale.at(value).map(|at| {
                let y = percent(1.0 - at);
                format!(
                    "<line class=rule x2=100% y1={y} y2={y} /><text class=rule x=0 \
                     dx=6 y={y} dy=-6>{label}</text>"
                )
            }),
            At::X(value) => plot.x.scale.at(value).map(|at| {
                let x = percent(at);
                let class = if at > 0.5 { "rule holds end" } else { "rule holds" };
                format!(
                    "<line class=\"rule holds\" x1={x} x2={x} y1=-14 y2=100% />\
                     <text class=\"{class}\" x={x} dx={} y=-6>{label}</text>",
                    if at > 0.5 { -6 } else { 6 }
                )
            }),
        };
        drawn.extend(one);
    }
    drawn
}

fn marks(plot: &Plot<'_>) -> String {
    let mut drawn = String::new();
    for mark in plot.marks.iter().take(MOST_MARKS) {
        let place = plot.x.scale.at(mark.x).zip(plot.y.scale.at(mark.y));
        let Some((x, y)) = place else { continue };
        let (class, shape) = match mark.is_good {
            true => ("good", "<circle r=5 />"),
            false => ("bad", "<path d=\"M-5-5L5 5M-5 5L5-5\" />"),
        };
        drawn.push_str(&format!(
            "<svg class=\"mark {class}\" x={} y={}><title>{}</title>{shape}</svg>",
            percent(x),
            percent(1.0 - y),
            html::text(&mark.hint)
        ));
    }
    drawn
}

/// About how many pixels a text of a plot takes.
fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * 6.2
}

/// Widths of a plot on a page that the style sheet calls wide, and on a narrow one, in pixels.
const WIDE: f64 = 720.0;
const NARROW: f64 = 270.0;

/// The side of the stretched inner SVG.
const SIDE: f64 = 1000.0;

/// Pixels are not more.
const MOST_POINTS: usize = 800;
const MOST_MARKS: usize = 500;
const MOST_BANDS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::human;

    fn plot(points: Vec<Point>) -> Plot<'static> {
        Plot {
            id: "p",
            title: "a <title>",
            desc: "",
            x: Axis { scale: Scale::time(100.0), label: human::clock },
            y: Axis { scale: Scale::linear([10.0]), label: human::tick },
            bands: Vec::new(),
            lines: vec![Line { name: "a&b", ink: "s1", points }],
            rules: Vec::new(),
            marks: Vec::new(),
        }
    }

    #[test]
    fn lines_break_where_there_is_nothing() {
        let line = [Some((0.0, 0.0)), Some((50.0, 5.0)), None, Some((100.0, 10.0))];
        let drawn = html(&plot(line.to_vec()));
        let asked = r#"<path class="s1" d="M0.0 1000.0h0L500.0 500.0M1000.0 0.0h0" />"#;
        assert!(drawn.contains(asked), "{drawn}");
        assert!(drawn.contains("a&amp;b") && drawn.contains("a &lt;title&gt;"));
    }

    #[test]
    fn what_is_no_number_is_not_drawn() {
        let wild = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let points = wild.iter().flat_map(|a| wild.iter().map(|b| Some((*a, *b)))).collect();
        let mut plot = plot(points);
        plot.bands = vec![Band { name: "x", from: f64::NAN, to: 1.0, is_shaded: true }];
        plot.rules = vec![Rule { at: At::Y(f64::NAN), label: String::new() }];
        plot.marks = vec![Mark { x: f64::NAN, y: 1.0, is_good: true, hint: String::new() }];
        let drawn = html(&plot);
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
    }

    #[test]
    fn labels_keep_clear_of_each_other() {
        for axis in [
            Axis { scale: Scale::percentile([0.999_999_9]), label: human::quantile },
            Axis { scale: Scale::time(3_600.0), label: human::clock },
            Axis { scale: Scale::linear([99_000.0]), label: human::tick_per_s },
        ] {
            let labels = labels(&axis);
            let narrow: Vec<_> = labels.iter().filter(|(_, _, class)| *class == "x").collect();
            assert!(narrow.len() >= 3 && narrow.len() < labels.len(), "{labels:?}");
            for pair in narrow.windows(2) {
                let room = (pair[1].0 - pair[0].0) * NARROW;
                let needed = (text_width(&pair[0].1) + text_width(&pair[1].1)) / 2.0;
                assert!(room > needed, "{labels:?}");
            }
        }
    }

    #[test]
    fn labels_of_even_ticks_are_even() {
        let axis = Axis { scale: Scale::time(40.0), label: human::seconds };
        let labels = labels(&axis);
        let narrow = labels.iter().filter(|(_, _, class)| *class == "x");
        let narrow: Vec<f64> = narrow.map(|(at, _, _)| *at).collect();
        assert_eq!(narrow, [0.0, 0.25, 0.5, 0.75, 1.0]);
    }
}
