//! The messages' thread. Whoever logs a message appends a finished line to one bounded buffer; one thread writes it to
//! standard error. When nobody reads there, only that thread waits, and what no longer fits is dropped and counted.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

use super::metrics::Metrics;

/// Bytes that may wait. Clients can cause messages: without a bound a reader that stalls would fill the memory.
const ROOM: usize = 1 << 20;
/// How long an ending process waits for its last messages; a pipe that nobody reads must not keep it.
const PATIENCE: Duration = Duration::from_secs(2);

/// The way to standard error. Dropping waits, for a moment, until what was said is written.
#[derive(Debug)]
pub struct Messages(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    written: Condvar,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Queue {
    lines: Vec<u8>,
    /// Whether lines were taken that are not written yet.
    writing: bool,
}

impl Messages {
    /// Starts the thread. It ends with the process.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(target: impl Write + Send + 'static, metrics: Arc<Metrics>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            written: Condvar::new(),
            metrics,
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("messages".to_owned())
            .spawn(move || of_thread.write_to(target))?;
        Ok(Self(shared))
    }

    /// Says what is no event: whole lines for people. Waits for nothing.
    pub fn say(&self, lines: &str) {
        self.0.push(lines.as_bytes());
    }

    /// Waits until everything said so far is written, for at most `patience`.
    pub fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut queue = self.0.queue();
        while queue.writing || !queue.lines.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.0.written.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub(super) fn writer(&self) -> MessageWriter {
        MessageWriter(Arc::clone(&self.0))
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.flush(PATIENCE);
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Held for a copy of one line, or for a swap of buffers: nobody waits here for a write.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut queue = self.queue();
        let fits = queue.lines.len() + line.len() <= ROOM;
        if fits {
            queue.lines.extend_from_slice(line);
        }
        drop(queue);
        match fits {
            true => self.wake.notify_one(),
            false => self.metrics.dropped_messages(1),
        }
    }

    fn write_to(&self, mut target: impl Write) {
        let mut batch = Vec::new();
        loop {
            let waited = self.wake.wait_while(self.queue(), |queue| queue.lines.is_empty());
            let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut batch, &mut queue.lines);
            queue.writing = true;
            drop(queue);
            if target.write_all(&batch).and_then(|()| target.flush()).is_err() {
                // There is nowhere left to say it but the metric.
                let lines = batch.iter().filter(|byte| **byte == b'\n').count();
                self.metrics.dropped_messages(lines as u64);
            }
            batch.clear();
            self.queue().writing = false;
            self.written.notify_all();
        }
    }
}

/// Takes tracing's events, which come as one write each.
#[derive(Debug, Clone)]
pub(super) struct MessageWriter(Arc<Shared>);

impl<'w> MakeWriter<'w> for MessageWriter {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

impl Write for MessageWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_up() -> io::Result<()> {
        let (mut reader, pipe) = io::pipe()?;
        let metrics = Arc::new(Metrics::new(1));
        let messages = Messages::start(pipe, Arc::clone(&metrics))?;
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        // More than the pipe, the batch and the buffer can hold together: a writer that waited would wait for ever here.
        for _ in 0..4096 {
            messages.writer().write_all(&line)?;
        }
        let dropped = metrics.dropped_message_count();
        assert!(dropped > 0, "nothing was dropped");
        let mut written = vec![0; (4096 - usize::try_from(dropped).expect("a count")) * line.len()];
        reader.read_exact(&mut written)?;
        assert!(written.chunks(line.len()).all(|found| found == line));
        assert!(messages.flush(Duration::from_secs(20)));
        Ok(())
    }

    #[test]
    fn messages_that_cannot_be_written_are_counted() -> io::Result<()> {
        let (reader, pipe) = io::pipe()?;
        drop(reader);
        let metrics = Arc::new(Metrics::new(1));
        let messages = Messages::start(pipe, Arc::clone(&metrics))?;
        messages.say("one\ntwo\n");
        assert!(messages.flush(Duration::from_secs(20)));
        assert_eq!(metrics.dropped_message_count(), 2);
        Ok(())
    }
}
