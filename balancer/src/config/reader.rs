//! Takes values out of the TOML tree, refusing with its place whatever does not fit.

use std::{collections::HashMap, fmt::Display, hash::Hash, ops::RangeInclusive, time::Duration};

use clap::{ValueEnum, builder::PossibleValue};
use toml::{
    Spanned,
    de::{DeInteger, DeString, DeTable, DeValue},
};

use super::{
    report::{Read, Refused, Report},
    schema::{FILE, Shape},
    values,
    wording::{alternatives, nearest},
};

/// What reading needs everywhere.
#[derive(Clone, Copy)]
pub(super) struct Reader<'t> {
    /// Where problems go.
    pub(super) report: &'t Report<'t>,
}

/// A table.
#[derive(Clone, Copy)]
pub(super) struct Table<'t> {
    reader: &'t Reader<'t>,
    shape: &'static Shape,
    /// `None` for a table that the file does not have, of which every value is a default.
    entries: Option<&'t DeTable<'t>>,
    place: usize,
}

impl<'t> Table<'t> {
    /// The file itself, whose keys are yet to be checked.
    pub(super) fn root(reader: &'t Reader<'t>, entries: &'t DeTable<'t>) -> Self {
        Self {
            reader,
            shape: &FILE,
            entries: Some(entries),
            place: 0,
        }
    }

    /// Refuses the keys that the schema does not have.
    pub(super) fn check_keys(&self) {
        for key in self.entries.into_iter().flat_map(DeTable::keys) {
            let (place, key) = (key.span().start, key.get_ref());
            if !self.shape.keys.contains(&key.as_ref()) {
                self.reader.report.refuse(place, unknown_key(self.shape, key));
            }
        }
    }

    fn entry(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.entries?.get(key)
    }

    /// Whether the table has `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// The value of `key`, if the table has it.
    pub(super) fn get(&self, key: &'static str) -> Option<Value<'t>> {
        debug_assert!(self.shape.keys.contains(&key), "the schema lacks {key}");
        Some(Value {
            reader: self.reader,
            name: key,
            content: self.entry(key)?,
        })
    }

    /// The value of `key`; `addition` is what to add to a table that lacks it.
    pub(super) fn required(&self, key: &'static str, addition: &str) -> Read<Value<'t>> {
        self.get(key).ok_or_else(|| {
            let title = self.shape.title();
            self.refuse(format!("{title} lacks {key:?}; add {addition}"))
        })
    }

    /// What `read` makes of the value of `key`, if the table has it.
    pub(super) fn optional<T>(&self, key: &'static str, read: impl FnOnce(Value<'t>) -> Read<T>) -> Read<Option<T>> {
        self.get(key).map(read).transpose()
    }

    /// What `read` makes of the value of `key`, else `default`.
    pub(super) fn or<T>(&self, key: &'static str, default: T, read: impl FnOnce(Value<'t>) -> Read<T>) -> Read<T> {
        Ok(self.optional(key, read)?.unwrap_or(default))
    }

    /// The table under `key`; an empty one if there is none.
    pub(super) fn section(&self, key: &'static str, shape: &'static Shape) -> Read<Self> {
        match self.get(key) {
            Some(value) => value.table(shape),
            None => Ok(Self {
                shape,
                entries: None,
                ..*self
            }),
        }
    }

    /// Notes a problem with the table as a whole.
    pub(super) fn refuse(&self, message: impl Into<String>) -> Refused {
        self.reader.report.refuse(self.place, message)
    }

    /// Notes a problem with `key`, or with the table if it does not have it.
    pub(super) fn refuse_at(&self, key: &'static str, message: impl Into<String>) -> Refused {
        self.reader.report.refuse(self.place_of(key), message)
    }

    /// Warns about `key`, or about the table if it does not have it.
    pub(super) fn warn_at(&self, key: &'static str, message: impl Into<String>) {
        self.reader.report.warn(self.place_of(key), message);
    }

    fn place_of(&self, key: &str) -> usize {
        self.entry(key).map_or(self.place, |content| content.span().start)
    }
}

fn unknown_key(shape: &Shape, key: &str) -> String {
    let elsewhere = shape.others_with(key);
    let mend = if let Some(meant) = nearest(key, shape.keys) {
        format!("did you mean {meant:?}?")
    } else if elsewhere.is_empty() {
        "remove it;".to_owned()
    } else {
        format!(
            "it is a key of {}, move it there or remove it;",
            alternatives(&elsewhere)
        )
    };
    format!(
        "unknown key {key:?} in {}; {mend} allowed here: {}",
        shape.title(),
        shape.keys.join(", ")
    )
}

/// A value and its place.
#[derive(Clone, Copy)]
pub(super) struct Value<'t> {
    reader: &'t Reader<'t>,
    name: &'static str,
    content: &'t Spanned<DeValue<'t>>,
}

impl<'t> Value<'t> {
    /// Notes a problem with the value.
    pub(super) fn refuse(&self, message: impl Into<String>) -> Refused {
        self.reader.report.refuse(self.place(), message)
    }

    fn place(&self) -> usize {
        self.content.span().start
    }

    fn wrong_type(&self, expected: &str, mend: &str) -> Refused {
        let found = match self.content.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.refuse(format!("{} must be {expected}, not {found}; {mend}", self.name))
    }

    fn out_of_range(&self, shown: impl Display, range: &RangeInclusive<impl Display>) -> Refused {
        self.refuse(format!(
            "{} = {shown} is out of range; use {} to {}",
            self.name,
            range.start(),
            range.end()
        ))
    }

    /// A table.
    pub(super) fn table(&self, shape: &'static Shape) -> Read<Table<'t>> {
        let content = self.content.get_ref().as_table();
        let entries = content.ok_or_else(|| self.wrong_type("a table", &format!("write it as {}", shape.example())))?;
        let table = Table {
            reader: self.reader,
            shape,
            entries: Some(entries),
            place: self.place(),
        };
        table.check_keys();
        Ok(table)
    }

    /// Whether it is a table.
    pub(super) fn is_table(&self) -> bool {
        self.content.get_ref().is_table()
    }

    /// The entries of a table whose keys are the user's choice; `name` is what one of its values is called.
    pub(super) fn entries<T>(
        &self,
        name: &'static str,
        example: &str,
        mut read: impl FnMut(Key<'t>, Self) -> Read<T>,
    ) -> Read<Vec<T>> {
        let entries = self.content.get_ref().as_table();
        let entries = entries.ok_or_else(|| self.wrong_type("a table", &format!("write it like {example}")))?;
        let entry = |(written, content)| {
            let reader = self.reader;
            let key = Key { reader, name, written };
            read(key, Self { name, content, ..*self })
        };
        // All are read before the first refusal counts, so that every problem is reported.
        let all: Vec<Read<T>> = entries.iter().map(entry).collect();
        all.into_iter().collect()
    }

    /// Tables that are written under `[[headers]]`.
    pub(super) fn tables<T>(&self, shape: &'static Shape, mut read: impl FnMut(Table<'t>) -> Read<T>) -> Read<Vec<T>> {
        let mend = format!("write each as {}", shape.example());
        self.elements("an array of tables", &mend, |element| read(element.table(shape)?))
    }

    /// An array of values; `name` is what one of them is called.
    pub(super) fn each<T>(&self, name: &'static str, mut read: impl FnMut(Self) -> Read<T>) -> Read<Vec<T>> {
        self.elements("an array", "put it in square brackets", |element| {
            read(Self { name, ..element })
        })
    }

    fn elements<T>(&self, expected: &str, mend: &str, mut read: impl FnMut(Self) -> Read<T>) -> Read<Vec<T>> {
        let array = self.content.get_ref().as_array();
        let array = array.ok_or_else(|| self.wrong_type(expected, mend))?;
        let element = |content| read(Self { content, ..*self });
        // All are read before the first refusal counts, so that every problem is reported.
        let all: Vec<Read<T>> = array.iter().map(element).collect();
        all.into_iter().collect()
    }

    /// A string.
    pub(super) fn string(&self) -> Read<&'t str> {
        let content = self.content.get_ref().as_str();
        content.ok_or_else(|| self.wrong_type("a string", "put it in double quotes"))
    }

    /// What `judge` makes of a string; its error completes a sentence that begins with the value.
    pub(super) fn parsed<T>(&self, judge: impl FnOnce(&str) -> Result<T, String>) -> Read<T> {
        let text = self.string()?;
        judge(text).map_err(|why| self.refuse(format!("{} = {text:?} {why}", self.name)))
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Read<bool> {
        let content = self.content.get_ref().as_bool();
        content.ok_or_else(|| self.wrong_type("a boolean", "write true or false"))
    }

    /// An integer, not yet a number.
    pub(super) fn written_integer(&self) -> Read<&'t DeInteger<'t>> {
        let content = self.content.get_ref().as_integer();
        content.ok_or_else(|| self.wrong_type("an integer", "write a whole number without quotes"))
    }

    /// An integer within `range`.
    pub(super) fn integer<T>(&self, range: RangeInclusive<T>) -> Read<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let written = self.written_integer()?;
        let number = i64::from_str_radix(written.as_str(), written.radix()).ok();
        number
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.out_of_range(written, &range))
    }

    /// A number from 0 to 1.
    pub(super) fn share(&self) -> Read<f64> {
        let text = match self.content.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => return Err(self.wrong_type("a number", "write one from 0.0 to 1.0 without quotes")),
        };
        let share: Option<f64> = text.parse().ok();
        share
            .filter(|share| (0.0..=1.0).contains(share))
            .ok_or_else(|| self.out_of_range(text, &("0.0"..="1.0")))
    }

    /// One of the values of an enumeration.
    pub(super) fn one_of<E: ValueEnum>(&self) -> Read<E> {
        let text = self.string()?;
        if let Ok(variant) = E::from_str(text, false) {
            return Ok(variant);
        }
        let names: Vec<_> = E::value_variants().iter().filter_map(E::to_possible_value).collect();
        let names: Vec<&str> = names.iter().map(PossibleValue::get_name).collect();
        let hint = nearest(text, &names).map_or_else(String::new, |meant| format!(" did you mean {meant:?}?"));
        let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
        let message = format!(
            "{} = {text:?} is unknown;{hint} use {}",
            self.name,
            alternatives(&names)
        );
        Err(self.refuse(message))
    }

    /// A duration within `range`.
    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Read<Duration> {
        let duration = self.parsed(values::duration)?;
        if range.contains(&duration) {
            return Ok(duration);
        }
        let [start, end] =
            [range.start(), range.end()].map(|bound| format!("\"{}\"", humantime::format_duration(*bound)));
        Err(self.out_of_range(format!("{:?}", self.string()?), &(start..=end)))
    }
}

/// A key that the user chose.
pub(super) struct Key<'t> {
    reader: &'t Reader<'t>,
    name: &'static str,
    written: &'t Spanned<DeString<'t>>,
}

impl Key<'_> {
    /// What `judge` makes of the key; its error completes a sentence that begins with the key.
    pub(super) fn parsed<T>(&self, judge: impl FnOnce(&str) -> Result<T, String>) -> Read<T> {
        let text = self.written.get_ref();
        judge(text).map_err(|why| {
            let message = format!("{} {text:?} {why}", self.name);
            self.reader.report.refuse(self.written.span().start, message)
        })
    }
}

/// Values that may not be repeated, with the place of the first of each.
pub(super) struct Distinct<K>(HashMap<K, usize>);

impl<K> Default for Distinct<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Distinct<K> {
    /// Refuses `value` if there already is one with this key; `shown` is what to call it.
    pub(super) fn admit(&mut self, key: K, value: &Value<'_>, shown: impl Display, mend: &str) -> Read<()> {
        self.exclude(&key, value, shown, mend)?;
        self.note(key, value);
        Ok(())
    }

    /// Takes `value` in; of several with one key the first counts.
    pub(super) fn note(&mut self, key: K, value: &Value<'_>) {
        self.0.entry(key).or_insert(value.place());
    }

    /// Refuses `value` if there is one with this key; `shown` is what to call that one.
    pub(super) fn exclude(&self, key: &K, value: &Value<'_>, shown: impl Display, mend: &str) -> Read<()> {
        match self.0.get(key) {
            None => Ok(()),
            Some(&first) => {
                let place = value.reader.report.already(first);
                Err(value.refuse(format!("{shown} is {place}; {mend}")))
            }
        }
    }
}
