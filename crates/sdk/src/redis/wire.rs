//! Requests as they are sent (RESP, "Sending commands to a Redis server"): arrays of bulk strings.

/// The commands of a packed request; what cannot be read ends the list.
pub(super) fn commands(packed: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut rest = packed;
    std::iter::from_fn(|| command(&mut rest)).collect()
}

fn command<'a>(rest: &mut &'a [u8]) -> Option<Vec<&'a [u8]>> {
    let count = number(rest, b'*')?;
    // Each argument takes more bytes than one.
    if count > rest.len() {
        return None;
    }
    (0..count)
        .map(|_| {
            let length = number(rest, b'$')?;
            let (argument, behind) = rest.split_at_checked(length)?;
            *rest = behind.strip_prefix(b"\r\n")?;
            Some(argument)
        })
        .collect()
}

/// The number of a line that begins with `mark`.
fn number(rest: &mut &[u8], mark: u8) -> Option<usize> {
    let end = rest.iter().take(24).position(|byte| *byte == b'\r')?;
    let (line, behind) = rest.split_at_checked(end)?;
    let digits = std::str::from_utf8(line.strip_prefix(&[mark])?).ok()?;
    *rest = behind.strip_prefix(b"\r\n")?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_far_as_they_go() {
        let packed = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n";
        assert_eq!(commands(packed), [vec![&b"GET"[..], b"a"], vec![b"PING"]]);
        for end in 0..packed.len() {
            assert!(commands(&packed[..end]).len() < 2, "{end}");
        }
        let broken: [&[u8]; 5] = [b"", b"*99999999999\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$9\r\nab\r\n", b"PING\r\n"];
        for packed in broken {
            assert_eq!(commands(packed), Vec::<Vec<&[u8]>>::new());
        }
    }
}
