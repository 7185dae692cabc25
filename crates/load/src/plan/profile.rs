//! A profile: a plan's phases as a TOML file, with what a run of it needs to know besides. What is wrong is told with
//! its line and column.

use std::time::Duration;

use serde::Deserialize;

use super::quantity::{Length, Rate};
use super::{BadPlan, Plan, Shape, Spacing, Stage};

/// A plan's parts, and how to run it. What the file does not say is left to whoever runs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The phases in order, warm-up first.
    pub stages: Vec<Stage>,
    /// How arrivals lie within the rate; Poisson where it is not said.
    pub spacing: Spacing,
    /// How long to wait before each further attempt after a 4xx reply.
    pub retry: Option<Vec<Duration>>,
    /// After so many messages a connection is closed.
    pub messages_per_connection: Option<u32>,
    /// How many connections there are at most.
    pub connections: Option<u32>,
}

/// A profile that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadProfile(String);

impl Profile {
    /// Reads a profile. `name`, that of its file, stands before what is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Profile, BadProfile> {
        if text.len() > LONGEST_TEXT {
            return Err(BadProfile(format!("{name}: longer than 1 MiB, which is no profile")));
        }
        let file: File = toml::from_str(text).map_err(|e| located(name, text, &e))?;
        file.profile().map_err(|reason| BadProfile(format!("{name}: {reason}")))
    }

    /// Its plan.
    pub fn plan(&self, seed: u64) -> Result<Plan, BadPlan> {
        Plan::new(self.stages.clone(), self.spacing, seed)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    arrivals: Arrivals,
    warmup: Option<Length>,
    retry: Option<Vec<Length>>,
    messages_per_connection: Option<std::num::NonZeroU32>,
    connections: Option<std::num::NonZeroU32>,
    #[serde(default, rename = "phase")]
    phases: Vec<Phase>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Arrivals {
    Even,
    #[default]
    Poisson,
}

/// Checked where it is read, so that an error knows its place.
#[derive(Debug, Deserialize)]
#[serde(try_from = "PhaseLine")]
struct Phase {
    name: Option<String>,
    duration: Duration,
    shape: Shape,
    is_warmup: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PhaseLine {
    name: Option<String>,
    duration: Length,
    #[serde(default)]
    warmup: bool,
    rate: Option<Rate>,
    ramp: Option<[Rate; 2]>,
    steps: Option<StepsLine>,
    spike: Option<SpikeLine>,
    sine: Option<SineLine>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepsLine {
    from: Rate,
    to: Rate,
    count: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpikeLine {
    base: Rate,
    peak: Rate,
    start: Length,
    length: Length,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SineLine {
    low: Rate,
    high: Rate,
    period: Length,
    /// When a peak is; where it is not said, half a period after the start.
    peak: Option<Length>,
}

impl File {
    fn profile(self) -> Result<Profile, String> {
        let mut stages: Vec<Stage> = self.phases.into_iter().zip(1..).map(Phase::stage).collect();
        let first = stages.first().ok_or("a profile needs at least one [[phase]]")?;
        if let Some(Length(duration)) = self.warmup {
            if first.is_warmup {
                return Err("warmup at the top and in a phase are one too many".into());
            }
            stages.insert(0, Stage::warmup(first, duration));
        }
        Ok(Profile {
            stages,
            spacing: match self.arrivals {
                Arrivals::Even => Spacing::Even,
                Arrivals::Poisson => Spacing::Poisson,
            },
            retry: self.retry.map(|waits| waits.into_iter().map(|Length(wait)| wait).collect()),
            messages_per_connection: self.messages_per_connection.map(u32::from),
            connections: self.connections.map(u32::from),
        })
    }
}

impl Phase {
    fn stage((phase, number): (Phase, u32)) -> Stage {
        let Phase { name, duration, shape, is_warmup } = phase;
        let name = name.unwrap_or_else(|| format!("phase {number}"));
        Stage { name, duration, shape, is_warmup }
    }
}

impl TryFrom<PhaseLine> for Phase {
    type Error = String;

    fn try_from(line: PhaseLine) -> Result<Self, String> {
        let Length(duration) = line.duration;
        let is_name = |name: &String| {
            (1..=LONGEST_NAME).contains(&name.chars().count()) && !name.contains(char::is_control)
        };
        if line.name.as_ref().is_some_and(|name| !is_name(name)) {
            return Err("a name has 1 to 60 characters, none of them control".into());
        }
        let shapes = [
            line.rate.map(|Rate(per_s)| Shape::Constant { per_s }),
            line.ramp
                .map(|[Rate(from_per_s), Rate(to_per_s)]| Shape::Ramp { from_per_s, to_per_s }),
            line.steps.map(StepsLine::shape),
            line.spike.map(SpikeLine::shape),
            line.sine.map(SineLine::shape),
        ];
        let shapes: Vec<Shape> = shapes.into_iter().flatten().collect();
        let Ok([shape]) = <[Shape; 1]>::try_from(shapes) else {
            return Err("a phase takes one of rate, ramp, steps, spike, sine".into());
        };
        if let Some(fault) = shape.fault(duration) {
            return Err(fault.into());
        }
        Ok(Phase { name: line.name, duration, shape, is_warmup: line.warmup })
    }
}

impl StepsLine {
    fn shape(self) -> Shape {
        Shape::Steps { from_per_s: self.from.0, to_per_s: self.to.0, count: self.count }
    }
}

impl SpikeLine {
    fn shape(self) -> Shape {
        Shape::Spike {
            base_per_s: self.base.0,
            peak_per_s: self.peak.0,
            start: self.start.0,
            length: self.length.0,
        }
    }
}

impl SineLine {
    fn shape(self) -> Shape {
        let Length(period) = self.period;
        let peak = self.peak.map_or(period / 2, |Length(peak)| peak);
        Shape::Sine { low_per_s: self.low.0, high_per_s: self.high.0, period, peak }
    }
}

/// In one line: `office-day.toml: line 7, column 3: unknown field …`.
fn located(name: &str, text: &str, error: &toml::de::Error) -> BadProfile {
    let message = error.message().replace('\n', ", ");
    let before = error.span().and_then(|span| text.get(..span.start));
    BadProfile(before.map_or(format!("{name}: {message}"), |before| {
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("{name}: line {line}, column {column}: {message}")
    }))
}

const LONGEST_TEXT: usize = 1 << 20;
const LONGEST_NAME: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_says_phases_and_options() {
        let text = "arrivals = 'even'\nwarmup = '10s'\nretry = ['30s', '2m']\nconnections = 8\n\
                    [[phase]]\nname = 'up'\nduration = '1m'\nramp = ['10/s', '600/min']\n\
                    [[phase]]\nduration = '2h'\nsine = { low = '1/s', high = '9/s', period = '24h' }\n";
        let profile = Profile::parse("x.toml", text).unwrap();
        let names: Vec<_> = profile.stages.iter().map(|stage| stage.name.as_str()).collect();
        assert_eq!(names, ["warm-up", "up", "phase 2"]);
        assert_eq!(profile.stages[0].shape, Shape::Constant { per_s: 10.0 });
        assert_eq!(profile.stages[1].shape, Shape::Ramp { from_per_s: 10.0, to_per_s: 10.0 });
        let retry = [30, 120].map(Duration::from_secs).to_vec();
        assert_eq!((profile.spacing, profile.retry), (Spacing::Even, Some(retry)));
        assert_eq!((profile.connections, profile.messages_per_connection), (Some(8), None));
        let Shape::Sine { peak, .. } = profile.stages[2].shape else { panic!("no sine") };
        assert_eq!(peak, Duration::from_secs(12 * 3600));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let phase = |rest: &str| format!("[[phase]]\nduration = '1m'\n{rest}\n");
        for (text, part) in [
            (phase("  rat = '1/s'"), "day.toml: line 3, column 3: unknown field `rat`, expected"),
            (phase("rate = '1'"), "line 3, column 8: `1` is no rate"),
            (phase("rate = 20"), "line 3, column 8: invalid type: integer `20`, expected a rate"),
            (phase("rate = '-1/s'"), "line 3, column 8: the rate `-1/s` is not from 0"),
            (phase("rate = 'NaN/s'"), "line 3, column 8: the rate"),
            (phase("ramp = ['1/s']"), "line 3, column 8: invalid length 1"),
            (phase("ramp = ['1/s', 'x']"), "line 3, column 16: `x` is no rate"),
            (phase(""), "line 1, column 1: a phase takes one of rate, ramp"),
            (phase("rate = '1/s'\nramp = ['1/s', '2/s']"), "a phase takes one of rate, ramp"),
            (phase("steps = { from = '1/s', to = '2/s', count = 0 }"), "steps are 1 to 1000"),
            (
                phase("spike = { base = '1/s', peak = '2/s', start = '50s', length = '11s' }"),
                "the spike ends after the phase",
            ),
            (phase("sine = { low = '3/s', high = '2/s', period = '1h' }"), "low is above high"),
            (phase("rate = '1/s'\nname = ''"), "a name has"),
            ("[[phase]]\nrate = '1/s'\n".into(), "line 1, column 1: missing field `duration`"),
            ("[[phase]]\nduration = 'long'\n".into(), "line 2, column 12: `long` is no duration"),
            ("[[phases]]\n".into(), "line 1, column 3: unknown field `phases`"),
            ("arrivals = 'odd'\n".into(), "line 1, column 12: unknown variant `odd`"),
            ("connections = 0\n".into(), "line 1, column 15: invalid value"),
            ("# é\nx = = 1".into(), "line 2, column 5:"),
            (String::new(), "day.toml: a profile needs at least one [[phase]]"),
            (format!("warmup = '1s'\n{}warmup = true", phase("rate = '1/s'")), "one too many"),
            (" ".repeat(LONGEST_TEXT + 1), "longer than 1 MiB"),
        ] {
            let error = Profile::parse("day.toml", &text).unwrap_err().to_string();
            assert!(error.starts_with("day.toml: ") && error.contains(part), "{text}\n{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn the_shipped_profiles_make_plans() {
        let scenarios = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/load");
        let mut count = 0;
        for entry in std::fs::read_dir(scenarios).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let profile = Profile::parse(&path.to_string_lossy(), &text).unwrap();
            let plan = profile.plan(1).unwrap();
            let peak = (0..1000).map(|k| plan.per_s_at(plan.duration() / 1000 * k));
            let peak = peak.fold(0.0, f64::max);
            assert!((1.0..=1000.0).contains(&peak), "{}: {peak}/s at most", path.display());
            assert!(text.starts_with("# "), "{}: says what it is for", path.display());
            count += 1;
        }
        assert!(count >= 8, "{count} profiles");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}", line in 0..6usize) {
            let keys = ["", "arrivals = ", "warmup = ", "[[phase]]\nduration = '1s'\nrate = ",
                "[[phase]]\nduration = ", "[[phase]]\nduration = '9s'\nsine = "];
            let _ = Profile::parse("any", &format!("{}{text}", keys[line]));
        }
    }
}
