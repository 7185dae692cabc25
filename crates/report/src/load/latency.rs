//! Latency by percentile: the tail takes as much room as all the rest.

use super::{Curve, Page};
use crate::html::{self, Column, Table, text};
use crate::human;
use crate::plot::{self, At, Axis, Line, Plot, Rule, Scale};

/// The curves, and their numbers.
pub(super) fn section(page: &Page) -> String {
    let curves: Vec<&Curve> =
        page.spectrum.iter().filter(|curve| !curve.points.is_empty()).take(INKS.len()).collect();
    if curves.is_empty() {
        return String::new();
    }
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let rules: Vec<Rule> = page.response_limit_us.map(limit).into_iter().collect();
    let limit_us = page.response_limit_us.map(|us| us as f64);
    let desc = curves.iter().map(|curve| said(curve)).collect::<Vec<_>>().join("; ");
    let plot = plot::html(&Plot {
        id: "by-percentile",
        title: "Latency by percentile",
        desc: &desc,
        x: Axis { scale: Scale::percentile(all().map(|(q, _)| *q)), label: human::quantile },
        y: Axis {
            scale: Scale::log(all().map(|(_, us)| *us as f64).chain(limit_us)),
            label: human::tick_us,
        },
        bands: Vec::new(),
        lines: curves.iter().zip(INKS).map(|(curve, ink)| line(curve, ink)).collect(),
        rules,
        marks: Vec::new(),
    });
    let data = html::details("Data", &data(&curves));
    html::section("percentiles", "Latency by percentile", LEAD, &format!("{plot}{data}"))
}

/// The objective, across a plot of latency.
pub(super) fn limit(us: u64) -> Rule {
    Rule { at: At::Y(us as f64), label: format!("p99 asked: {}", human::us(us)) }
}

fn line<'a>(curve: &'a Curve, ink: &'static str) -> Line<'a> {
    let points = curve.points.iter().map(|(q, us)| Some((*q, *us as f64))).collect();
    Line { name: &curve.name, ink, points }
}

fn said(curve: &Curve) -> String {
    let (first, last) = (curve.points.first(), curve.points.last());
    let [from, to] = [first, last].map(|point| {
        point.map_or(String::new(), |(q, us)| {
            format!("{} at {}", human::us(*us), human::quantile(*q))
        })
    });
    format!("{}: from {from} to {to}", curve.name)
}

fn data(curves: &[&Curve]) -> String {
    let columns = [Column::Words("Curve"), Column::Number("Percentile"), Column::Number("Latency")];
    let mut table = Table::new("Latency by percentile", &columns);
    for curve in curves {
        let most = MOST_ROWS / curves.len();
        let last = curve.points.len() - 1;
        let every = curve.points.len().div_ceil(most);
        for (index, (q, us)) in curve.points.iter().enumerate() {
            if index % every == 0 || index == last {
                table.row(&[text(&curve.name), human::quantile(*q), human::us(*us)]);
            }
        }
    }
    table.html()
}

const LEAD: &str = "The share of messages that took no longer. Each step to the right is ten times \
                    rarer; both axes are logarithmic.";

const INKS: [&str; 3] = ["s1", "s2", "s3"];
const MOST_ROWS: usize = 120;
