//! The answer to an export: `ExportTraceServiceResponse { partial_success { rejected_spans, error_message } }`.

use super::Outcome;

/// What an encoded response says. Bytes that are no such message count as a plain acknowledgement with a remark.
pub fn partial_success(message: &[u8]) -> Outcome {
    let read = || {
        let (mut rejected, mut text) = (0, String::new());
        for (field, value) in Fields(message) {
            if field? == 1
                && let Value::Bytes(partial) = value
            {
                for (field, value) in Fields(partial) {
                    match (field?, value) {
                        (1, Value::Number(number)) => rejected = number,
                        (2, Value::Bytes(bytes)) => text = String::from_utf8_lossy(bytes).into_owned(),
                        _ => {}
                    }
                }
            }
        }
        Some((rejected, text))
    };
    let (rejected, message) = read().unwrap_or_else(|| (0, "the answer is not a protobuf message".to_owned()));
    Outcome::Accepted { rejected, message }
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message; a field number of `None` ends it where it is malformed.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(len)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (Option<u64>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        Some(match self.field() {
            Some((number, value)) => (Some(number), value),
            None => {
                self.0 = &[];
                (None, Value::Number(0))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_are_read_from_the_answer() {
        let cases: [(&[u8], u64, &str); 4] = [
            (b"", 0, ""),
            (b"\x0a\x00", 0, ""),
            (b"\x0a\x08\x08\x85\x02\x12\x03bad", 261, "bad"),
            (b"\x0a\xff", 0, "the answer is not a protobuf message"),
        ];
        for (bytes, rejected, message) in cases {
            assert_eq!(partial_success(bytes), Outcome::Accepted { rejected, message: message.into() });
        }
    }
}
