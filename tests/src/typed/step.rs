//! The commands of a page.

/// A command of the page, and what it is said to print: the lines from `begin` to `end`.
pub(super) struct Step {
    pub(super) command: String,
    pub(super) expected: Vec<String>,
    pub(super) begin: usize,
    pub(super) end: usize,
}

impl Step {
    pub(super) fn all(page: &[&str]) -> Vec<Self> {
        let (mut steps, mut inside, mut at): (Vec<Self>, bool, usize) = (Vec::new(), false, 0);
        while let Some(line) = page.get(at) {
            at += 1;
            if line.starts_with("```") {
                inside = *line == "```console";
            } else if let (true, Some(first)) = (inside, line.strip_prefix("$ ")) {
                let mut command = first.to_owned();
                while command.ends_with('\\') {
                    command = format!("{command}\n{}", page[at]);
                    at += 1;
                }
                steps.push(Self { command, expected: Vec::new(), begin: at, end: at });
            } else if let (true, Some(step)) = (inside, steps.last_mut()) {
                step.expected.push((*line).to_owned());
                step.end = at;
            }
        }
        steps
    }

    pub(super) fn is_up(&self) -> bool {
        self.command.split_whitespace().any(|word| word == "up")
    }

    /// Shows what may come a moment after an answer: a hash is replaced then.
    pub(super) fn may_take_a_moment(&self) -> bool {
        self.command.starts_with("carelink user show")
    }

    pub(super) fn reads_the_trail(&self) -> bool {
        self.command.starts_with("carelink audit list")
    }
}
