//! What an ops port shows at `/metrics`, as numbers.

/// One look at one process.
#[derive(Debug, Default)]
pub(super) struct Metrics(Vec<(String, f64)>);

impl Metrics {
    /// Reads the text format; what is no number is passed over.
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.rsplit_once(' '));
        Self(pairs.filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?))).collect())
    }

    /// Every series of a name, with its labels as they stand.
    pub(super) fn series(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().filter_map(move |(series, value)| {
            let (own, labels) = series.split_once('{').unwrap_or((series, ""));
            (own == name).then_some((labels.trim_end_matches('}'), *value))
        })
    }

    /// The largest of a name.
    pub(super) fn largest(&self, name: &str) -> Option<f64> {
        self.series(name).map(|(_, value)| value).reduce(f64::max)
    }

    /// The least of a name.
    pub(super) fn least(&self, name: &str) -> Option<f64> {
        self.series(name).map(|(_, value)| value).reduce(f64::min)
    }

    /// The sum of a name over series with a label.
    pub(super) fn sum(&self, name: &str, label: &str) -> f64 {
        self.series(name).filter(|(labels, _)| labels.contains(label)).map(|(_, value)| value).sum()
    }
}

/// A label's value among labels as they stand.
pub(super) fn label<'a>(labels: &'a str, name: &str) -> &'a str {
    let mut parts = labels.split(',').filter_map(|part| part.split_once('='));
    parts.find(|(known, _)| *known == name).map_or("", |(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_name_and_label() {
        let text = "# HELP a b\na 1\nb{x=\"1\",y=\"z\"} 2.5\nb{x=\"2\",y=\"z\"} 0.5\nb_count 9\nnonsense\n";
        let metrics = Metrics::parse(text);
        assert_eq!(
            (metrics.largest("a"), metrics.largest("b"), metrics.least("b"), metrics.largest("c")),
            (Some(1.0), Some(2.5), Some(0.5), None)
        );
        assert_eq!(metrics.sum("b", "x=\"1\""), 2.5);
        let (labels, _) = metrics.series("b").next().unwrap();
        assert_eq!((label(labels, "y"), label(labels, "q")), ("z", ""));
    }
}
