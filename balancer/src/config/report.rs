//! Collects remarks on one file and finds their places.

use std::cell::RefCell;

use super::{
    IN_MEMORY,
    diagnostic::{ConfigError, Diagnostic},
};

/// Stands for a value that could not be had: the reason is in the [`Report`], which alone makes these.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused(());

/// A value, unless the [`Report`] says why not.
pub(super) type Read<T> = Result<T, Refused>;

/// The remarks on one file. Places go in as byte offsets and come out as lines and columns.
pub(super) struct Report<'t> {
    file: &'t str,
    text: &'t str,
    line_starts: Vec<usize>,
    problems: RefCell<Vec<Remark>>,
    warnings: RefCell<Vec<Remark>>,
}

struct Remark {
    place: usize,
    message: String,
}

impl<'t> Report<'t> {
    pub(super) fn new(file: &'t str, text: &'t str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(newline, _)| newline + 1);
        Self {
            file,
            text,
            line_starts: std::iter::once(0).chain(after_newlines).collect(),
            problems: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// Notes why the configuration cannot be used.
    pub(super) fn refuse(&self, place: usize, message: impl Into<String>) -> Refused {
        self.problems.borrow_mut().push(Remark {
            place,
            message: message.into(),
        });
        Refused(())
    }

    /// Notes what is valid but hardly meant.
    pub(super) fn warn(&self, place: usize, message: impl Into<String>) {
        self.warnings.borrow_mut().push(Remark {
            place,
            message: message.into(),
        });
    }

    /// Says that there is something at a place already.
    pub(super) fn already(&self, place: usize) -> String {
        if self.file == IN_MEMORY {
            "there already".to_owned()
        } else {
            format!("already on line {}", self.line(place))
        }
    }

    /// The line of a place, counted from 1.
    fn line(&self, place: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= place)
    }

    /// What was read with its warnings, if nothing was refused.
    pub(super) fn conclude<T>(self, read: Read<T>) -> Result<(T, Vec<Diagnostic>), ConfigError> {
        match read {
            Ok(value) if self.problems.borrow().is_empty() => Ok((value, self.located(&self.warnings))),
            _ => Err(self.into_error()),
        }
    }

    /// Everything that was refused.
    pub(super) fn into_error(self) -> ConfigError {
        ConfigError::Invalid(self.located(&self.problems))
    }

    fn located(&self, remarks: &RefCell<Vec<Remark>>) -> Vec<Diagnostic> {
        let mut remarks = remarks.take();
        remarks.sort_by_key(|remark| remark.place);
        let locate = |Remark { place, message }| {
            let line = self.line(place);
            let start = self.line_starts[line - 1];
            let end = self.text.floor_char_boundary(place);
            Diagnostic {
                file: self.file.to_owned(),
                line,
                column: self.text[start..end].chars().count() + 1,
                message,
            }
        };
        remarks.into_iter().map(locate).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_become_lines_and_columns_in_characters() {
        let text = "é = 1\r\n\nx = 'ü' y";
        for (place, line, column) in [(0, 1, 1), (2, 1, 2), (8, 2, 1), (9, 3, 1), (18, 3, 9), (19, 3, 10)] {
            let report = Report::new("f", text);
            report.refuse(place, "m");
            let ConfigError::Invalid(problems) = report.into_error() else {
                panic!("not about content")
            };
            assert_eq!(problems[0].to_string(), format!("f:{line}:{column}: m"), "{place}");
        }
    }

    #[test]
    fn remarks_come_in_the_order_of_the_file() {
        let report = Report::new("f", "a\nb\n");
        report.refuse(2, "second");
        report.refuse(0, "first");
        assert_eq!(report.into_error().to_string(), "f:1:1: first\nf:2:1: second");
    }
}
