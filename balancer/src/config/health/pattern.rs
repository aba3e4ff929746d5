//! Reads what a probe sends, and what an answer must have.

use super::super::{
    model::Pattern,
    reader::{Table, Value},
    report::Read,
    schema::Shape,
    values,
};

/// Reads text, or bytes in hexadecimal.
pub(super) fn payload(value: &Value<'_>, shape: &'static Shape) -> Read<Vec<u8>> {
    let payload = if value.is_table() {
        hex(value.table(shape)?)?
    } else {
        value.string()?.as_bytes().to_vec()
    };
    if payload.len() > values::MAX_PAYLOAD {
        let (length, most) = (payload.len(), values::MAX_PAYLOAD);
        return Err(value.refuse(format!("{length} bytes are too many to send; use at most {most}")));
    }
    Ok(payload)
}

/// Reads text, bytes in hexadecimal or a regular expression.
pub(super) fn pattern(value: &Value<'_>, shape: &'static Shape) -> Read<Pattern> {
    let pattern = if value.is_table() {
        regex_or_hex(value.table(shape)?)?
    } else {
        Pattern::Bytes(value.string()?.as_bytes().to_vec())
    };
    if matches!(&pattern, Pattern::Bytes(bytes) if bytes.is_empty()) {
        return Err(value.refuse("an empty pattern is found in everything; say what to find, or leave it out"));
    }
    Ok(pattern)
}

fn regex_or_hex(table: Table<'_>) -> Read<Pattern> {
    let regex = table.optional("regex", |value| value.parsed(values::regex));
    match (regex?, table.has("hex")) {
        (None, _) => hex(table).map(Pattern::Bytes),
        (Some(regex), false) => Ok(Pattern::Regex(regex)),
        (Some(_), true) => Err(table.refuse_at("regex", "a pattern has either hex or regex; remove one of them")),
    }
}

fn hex(table: Table<'_>) -> Read<Vec<u8>> {
    table.required("hex", r#"hex = "01ff""#)?.parsed(values::hex)
}
