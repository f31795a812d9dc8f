//! `/metrics` as numbers, and what became of them between two looks.

use std::collections::BTreeMap;

/// One look.
#[derive(Clone, Debug, Default)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the text format.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Self(lines.map(|line| line.rsplit_once(' ').unwrap()).map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect())
    }

    /// The sum over all series of a name whose labels contain each of `labels` (`method="..."`).
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let matches = |series: &str| {
            let (own, given) = series.split_once('{').unwrap_or((series, ""));
            own == name && labels.iter().all(|label| given.contains(label))
        };
        self.0.iter().filter(|(series, _)| matches(series)).map(|(_, value)| value).sum()
    }

    /// What each series of these names rose by since `before`; those that did not are left out.
    pub fn since(&self, before: &Self, names: &[&str]) -> BTreeMap<String, f64> {
        let risen = self.0.iter().filter(|(series, _)| names.iter().any(|name| series.split('{').next() == Some(name)));
        let risen = risen.map(|(series, value)| (series.clone(), value - before.0.get(series).copied().unwrap_or(0.0)));
        risen.filter(|(_, by)| *by != 0.0).collect()
    }
}
