//! Files as they are, or compressed by gzip.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

/// How gzip begins (RFC 1952).
const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Read at once.
const BUFFER: usize = 256 * 1024;

/// The content of `input`, decompressed where it is compressed by gzip.
pub fn plain(mut input: impl Read + Send + 'static) -> io::Result<Box<dyn BufRead + Send>> {
    let mut start = Vec::with_capacity(MAGIC.len());
    input.by_ref().take(MAGIC.len() as u64).read_to_end(&mut start)?;
    let compressed = start == MAGIC;
    let input = BufReader::with_capacity(BUFFER, Cursor::new(start).chain(input));
    Ok(if compressed {
        Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(input)))
    } else {
        Box::new(input)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn read(bytes: Vec<u8>) -> Vec<u8> {
        let mut content = Vec::new();
        plain(Cursor::new(bytes)).unwrap().read_to_end(&mut content).unwrap();
        content
    }

    #[test]
    fn gzip_is_taken_off_and_anything_else_is_left() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"1 a 2\n").unwrap();
        let member = encoder.finish().unwrap();
        assert_eq!(read([member.clone(), member].concat()), b"1 a 2\n1 a 2\n");
        for content in [&b""[..], b"\x1f", b"{}", b"plain"] {
            assert_eq!(read(content.to_vec()), content);
        }
    }
}
