//! Lines of log files: plain, gzip or zstd, told apart by their first bytes, whatever the files are called.

use std::{
    cell::Cell,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    rc::Rc,
};

use flate2::bufread::MultiGzDecoder;

/// The longest line that is read, in bytes. What is longer is no access record, and must not fill the memory.
pub const MAX_LINE: usize = 256 << 10;
/// What is read at once.
const BUFFER: usize = 256 << 10;

/// A file being read line by line.
pub struct Lines {
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    number: u64,
    consumed: Consumed,
}

/// How many bytes of files were read so far, compressed ones as they are: what a progress bar can know.
#[derive(Debug, Clone, Default)]
pub struct Consumed(Rc<Cell<u64>>);

impl Consumed {
    /// The number of bytes.
    pub fn bytes(&self) -> u64 {
        self.0.get()
    }
}

/// A line of a file.
#[derive(Debug)]
pub struct Line<'f> {
    /// Counted from 1.
    pub number: u64,
    /// Without its end; `Err`: it is longer than [`MAX_LINE`], and was left out.
    pub text: Result<&'f [u8], TooLong>,
}

/// A line longer than [`MAX_LINE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

impl Lines {
    /// Opens a file; `-` is standard input.
    ///
    /// # Errors
    /// It cannot be opened, or its beginning cannot be read.
    pub fn open(path: &Path, consumed: &Consumed) -> io::Result<Self> {
        let source: Box<dyn Read> = match path.as_os_str() == "-" {
            true => Box::new(io::stdin()),
            false => Box::new(File::open(path)?),
        };
        Self::of(source, consumed)
    }

    /// The lines of what a reader gives.
    ///
    /// # Errors
    /// Its beginning cannot be read.
    pub fn of(source: impl Read + 'static, consumed: &Consumed) -> io::Result<Self> {
        let counting = Counting {
            source,
            consumed: consumed.clone(),
        };
        let mut plain = BufReader::with_capacity(BUFFER, counting);
        let reader: Box<dyn BufRead> = match Kind::of(&beginning(&mut plain)?) {
            Kind::Plain(begun) => Box::new(io::Cursor::new(begun).chain(plain)),
            Kind::Gzip(begun) => {
                let compressed = io::Cursor::new(begun).chain(plain);
                Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(compressed)))
            }
            Kind::Zstd(begun) => {
                let compressed = io::Cursor::new(begun).chain(plain);
                let decoder = zstd::stream::read::Decoder::with_buffer(compressed)?;
                Box::new(BufReader::with_capacity(BUFFER, decoder))
            }
        };
        Ok(Self {
            reader,
            line: Vec::new(),
            number: 0,
            consumed: consumed.clone(),
        })
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// The file cannot be read on, or what is compressed is damaged.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let mut is_too_long = false;
        let mut is_empty = true;
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                break;
            }
            is_empty = false;
            let end = memchr::memchr(b'\n', available);
            let piece = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
            if self.line.len() + piece.len() > MAX_LINE {
                is_too_long = true;
                self.line.clear();
            } else if !is_too_long {
                self.line.extend_from_slice(piece);
            }
            let used = end.map_or(available.len(), |end| end + 1);
            self.reader.consume(used);
            if end.is_some() {
                break;
            }
        }
        if is_empty {
            return Ok(None);
        }
        self.number += 1;
        let text = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        Ok(Some(Line {
            number: self.number,
            text: if is_too_long { Err(TooLong) } else { Ok(text) },
        }))
    }

    /// How many bytes of files were read so far.
    pub fn consumed(&self) -> u64 {
        self.consumed.bytes()
    }
}

/// How a file is compressed, with the bytes that told it.
enum Kind {
    Plain(Vec<u8>),
    Gzip(Vec<u8>),
    Zstd(Vec<u8>),
}

impl Kind {
    fn of(begun: &[u8]) -> Self {
        const GZIP: &[u8] = &[0x1f, 0x8b];
        const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
        // Skippable frames, with which seekable and parallel compressors begin.
        let skippable = matches!(begun, [0x50..=0x5f, 0x2a, 0x4d, 0x18]);
        match begun {
            _ if begun.starts_with(GZIP) => Self::Gzip(begun.to_vec()),
            _ if begun == ZSTD || skippable => Self::Zstd(begun.to_vec()),
            _ => Self::Plain(begun.to_vec()),
        }
    }
}

/// The first four bytes, or as many as there are.
fn beginning(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut begun = Vec::with_capacity(4);
    reader.take(4).read_to_end(&mut begun)?;
    Ok(begun)
}

/// Counts what is read of a file.
struct Counting<R> {
    source: R,
    consumed: Consumed,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.consumed.0.set(self.consumed.0.get() + read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines(bytes: Vec<u8>) -> io::Result<Vec<String>> {
        let mut lines = Lines::of(io::Cursor::new(bytes), &Consumed::default())?;
        let mut all = Vec::new();
        while let Some(line) = lines.next_line()? {
            all.push(match line.text {
                Ok(text) => String::from_utf8_lossy(text).into_owned(),
                Err(TooLong) => "(too long)".to_owned(),
            });
        }
        Ok(all)
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).expect("into memory");
        encoder.finish().expect("into memory")
    }

    fn zstd(text: &str) -> Vec<u8> {
        ::zstd::encode_all(text.as_bytes(), 1).expect("into memory")
    }

    #[test]
    fn files_are_read_however_they_are_compressed_and_in_however_many_pieces() {
        let expected = ["one", "two", "three"];
        for bytes in [
            b"one\ntwo\r\nthree".to_vec(),
            b"one\ntwo\nthree\n".to_vec(),
            gzip("one\ntwo\nthree\n"),
            [gzip("one\nt"), gzip("wo\nthree\n")].concat(),
            zstd("one\ntwo\nthree\n"),
            [zstd("one\nt"), zstd("wo\nthree")].concat(),
        ] {
            assert_eq!(lines(bytes).expect("read"), expected);
        }
        assert!(lines(Vec::new()).expect("read").is_empty());
        assert_eq!(lines(b"\n\nx".to_vec()).expect("read"), ["", "", "x"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out_and_the_next_one_is_read() {
        let long = format!("one\n{}\ntwo\n", "x".repeat(3 * MAX_LINE));
        assert_eq!(lines(long.into_bytes()).expect("read"), ["one", "(too long)", "two"]);
    }

    #[test]
    fn a_damaged_archive_is_an_error() {
        let mut cut = gzip(&"one\n".repeat(1000));
        cut.truncate(cut.len() - 9);
        assert!(lines(cut).is_err());
        let mut cut = zstd(&"one\n".repeat(1000));
        cut.truncate(cut.len() - 3);
        assert!(lines(cut).is_err());
    }
}
