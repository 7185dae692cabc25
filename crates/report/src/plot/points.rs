//! Points of a line, made fewer without hiding a spike: of each stretch the lowest and the highest
//! stay.

/// A point, or a gap in the line.
pub(crate) type Point = Option<(f64, f64)>;

/// At most about so many points; a stretch without any stays a gap.
pub(crate) fn fewer(points: &[Point], most: usize) -> Vec<Point> {
    if points.len() <= most {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil((most / 2).max(1));
    points.chunks(stretch).flat_map(lowest_and_highest).collect()
}

fn lowest_and_highest(points: &[Point]) -> Vec<Point> {
    let present = points.iter().flatten().filter(|(_, y)| !y.is_nan());
    let lowest = present.clone().min_by(|a, b| a.1.total_cmp(&b.1));
    let highest = present.max_by(|a, b| a.1.total_cmp(&b.1));
    match (lowest, highest) {
        (Some(low), Some(high)) if low == high => vec![Some(*low)],
        (Some(low), Some(high)) if low.0 <= high.0 => vec![Some(*low), Some(*high)],
        (Some(low), Some(high)) => vec![Some(*high), Some(*low)],
        _ => vec![None],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_points_stay_as_they_are() {
        let points = [Some((0.0, 1.0)), None, Some((2.0, 3.0))];
        assert_eq!(fewer(&points, 3), points);
        assert_eq!(fewer(&[], 10), []);
    }

    #[test]
    fn spikes_and_gaps_survive() {
        let mut points: Vec<Point> = (0..10_000).map(|x| Some((f64::from(x), 10.0))).collect();
        points[4_321] = Some((4_321.0, 99.0));
        points[7_003] = Some((7_003.0, 1.0));
        points[2_000..3_000].fill(None);
        points[5_000] = Some((5_000.0, f64::NAN));
        let fewer = fewer(&points, 400);
        assert!(fewer.len() <= 400, "{}", fewer.len());
        assert!(fewer.contains(&Some((4_321.0, 99.0))));
        assert!(fewer.contains(&Some((7_003.0, 1.0))));
        assert!(fewer.contains(&None));
        let xs: Vec<f64> = fewer.iter().flatten().map(|(x, _)| *x).collect();
        assert!(xs.is_sorted(), "time goes on");
        assert!(fewer.iter().flatten().all(|(_, y)| y.is_finite()));
    }
}
