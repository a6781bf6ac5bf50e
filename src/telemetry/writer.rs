//! The access log's thread. Workers append finished lines to buffers of their own; one thread takes the buffers and writes
//! them, many lines at a time.

use std::{
    cell::RefCell,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, Guard};

use super::{
    metrics::{Metrics, WorkerIndex},
    redact::Redaction,
};
use crate::config::settings::{LogFormat, LogSettings, LogTarget};

/// How long the thread waits for more lines before it writes the first: fewer, larger writes for a delay that nobody sees.
const LINGER: Duration = Duration::from_millis(10);
/// Failed writes are reported at most this often; a full disk must not flood the other log as well.
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// How long a reload waits for a new target to be taken; a blocked pipe must not keep it from ending.
const SWITCH_PATIENCE: Duration = Duration::from_secs(1);
/// A worker's share of the queue is also bounded in bytes, at so many a record: long targets must not fill the memory.
const BYTES_A_RECORD: usize = 2048;
/// Line buffers that a worker keeps for its next requests.
const SPARE_BUFFERS: usize = 64;
/// A buffer that grew beyond this is not kept.
const SPARE_CAPACITY: usize = 4096;

/// The access log: where lines go and how they look.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    style: ArcSwap<Style>,
    /// The target of the settings in force.
    target: Mutex<LogTarget>,
    queues: Box<[Mutex<Queue>]>,
    /// Records that one worker may have waiting.
    room: AtomicUsize,
    orders: Mutex<Orders>,
    /// Wakes the thread.
    wake: Condvar,
    /// Tells that everything asked for was written.
    written: Condvar,
    /// Whether the thread was already woken for the lines that wait.
    woken: AtomicBool,
    metrics: Arc<Metrics>,
}

/// How lines look.
#[derive(Debug)]
pub(super) struct Style {
    pub(super) on: bool,
    pub(super) format: LogFormat,
    pub(super) redaction: Redaction,
}

impl Style {
    fn new(settings: &LogSettings) -> Self {
        Self {
            on: settings.access != LogTarget::Off,
            format: settings.format,
            redaction: Redaction::new(&settings.redact_query),
        }
    }
}

/// One worker's lines.
#[derive(Debug, Default)]
struct Queue {
    lines: Vec<u8>,
    records: usize,
}

/// Line buffers of one worker that wait for its next requests.
#[derive(Debug, Default)]
pub(super) struct SpareBuffers(RefCell<Vec<Vec<u8>>>);

impl SpareBuffers {
    /// An empty one.
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(1024))
    }

    /// Gives one back.
    pub(super) fn give(&self, mut buffer: Vec<u8>) {
        let mut spare = self.0.borrow_mut();
        if spare.len() < SPARE_BUFFERS && buffer.capacity() <= SPARE_CAPACITY {
            buffer.clear();
            spare.push(buffer);
        }
    }
}

/// What the thread is to do.
#[derive(Debug, Default)]
struct Orders {
    lines_wait: bool,
    reopen: bool,
    target: Option<Sink>,
    stop: bool,
    /// Flushes asked for, and done.
    flush_asked: u64,
    flush_done: u64,
}

/// Nobody waits for a line, but clients wait for a worker: on a machine whose cores are all in use the thread must not take
/// one from a request. Linux gives each thread its own niceness; elsewhere it is the process's, and stays.
fn yield_to_workers() {
    const NICENESS: i32 = 10;
    if cfg!(target_os = "linux") {
        // Not allowed to, it works as well, only not as late.
        let _as_before = rustix::process::setpriority_process(None, NICENESS);
    }
}

impl AccessLog {
    /// Opens the target and starts the thread.
    ///
    /// # Errors
    /// The log file cannot be opened, or the thread not started.
    pub(super) fn start(settings: &LogSettings, workers: usize, metrics: Arc<Metrics>) -> io::Result<Self> {
        let sink = Sink::open(&settings.access)?;
        Self::start_with(sink, settings, workers, metrics)
    }

    fn start_with(sink: Sink, settings: &LogSettings, workers: usize, metrics: Arc<Metrics>) -> io::Result<Self> {
        let workers = workers.max(1);
        let shared = Arc::new(Shared {
            style: ArcSwap::from_pointee(Style::new(settings)),
            target: Mutex::new(settings.access.clone()),
            queues: (0..workers).map(|_| Mutex::default()).collect(),
            room: AtomicUsize::new(settings.queue.div_ceil(workers)),
            orders: Mutex::default(),
            wake: Condvar::new(),
            written: Condvar::new(),
            woken: AtomicBool::new(false),
            metrics,
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            sink,
            batch: Vec::new(),
            reported: None,
        };
        thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            yield_to_workers();
            writer.run();
        })?;
        Ok(Self { shared })
    }

    pub(super) fn style(&self) -> Guard<Arc<Style>> {
        self.shared.style.load()
    }

    /// Queues a finished line, or drops and counts it when the queue is full. Never waits for the writing.
    pub(super) fn push(&self, worker: WorkerIndex, line: &[u8]) {
        let room = self.shared.room.load(Relaxed);
        let Some(mut queue) = self.shared.queue(worker) else {
            return;
        };
        let fits = queue.records < room && queue.lines.len() + line.len() <= room.saturating_mul(BYTES_A_RECORD);
        if fits {
            queue.lines.extend_from_slice(line);
            queue.records += 1;
        }
        drop(queue);
        if !fits {
            self.shared.metrics.dropped_log_record(1);
        } else if !self.shared.woken.swap(true, Relaxed) {
            self.shared.order(|orders| orders.lines_wait = true);
        }
    }

    /// Puts other settings in force: lines that come after this go to the new target, in the new format.
    ///
    /// # Errors
    /// The log file cannot be opened; everything then stays.
    pub(super) fn apply(&self, settings: &LogSettings) -> io::Result<()> {
        let sink = Sink::open(&settings.access)?;
        self.shared
            .room
            .store(settings.queue.div_ceil(self.shared.queues.len()), Relaxed);
        let mut target = self.shared.target.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.order(|orders| orders.target = Some(sink));
        if *target != settings.access {
            // A line of the new format must not go where the old one went. A blocked old target takes lines a little longer.
            let _taken = self.flush(SWITCH_PATIENCE);
            target.clone_from(&settings.access);
        }
        self.shared.style.store(Arc::new(Style::new(settings)));
        Ok(())
    }

    pub(super) fn reopen(&self) {
        self.shared.order(|orders| orders.reopen = true);
    }

    pub(super) fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut orders = self.shared.orders();
        orders.flush_asked += 1;
        let asked = orders.flush_asked;
        self.shared.wake.notify_one();
        while orders.flush_done < asked {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.written.wait_timeout(orders, left);
            orders = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.shared.order(|orders| orders.stop = true);
    }
}

impl Shared {
    fn queue(&self, worker: WorkerIndex) -> Option<MutexGuard<'_, Queue>> {
        // Held for a copy of one line, or for a swap of buffers: nobody waits here for a write.
        let queue = self.queues.get(worker.get() % self.queues.len())?;
        Some(queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders());
        self.wake.notify_one();
    }
}

/// The thread's side.
struct Writer {
    shared: Arc<Shared>,
    sink: Sink,
    batch: Vec<u8>,
    reported: Option<Instant>,
}

/// What the thread found to do.
struct Turn {
    reopen: bool,
    target: Option<Sink>,
    stop: bool,
    flush: u64,
}

impl Writer {
    fn run(mut self) {
        loop {
            let turn = self.wait();
            self.write_queued();
            if let Some(sink) = turn.target {
                self.sink = sink;
            }
            if turn.reopen {
                self.reopen();
            }
            let mut orders = self.shared.orders();
            orders.flush_done = orders.flush_done.max(turn.flush);
            drop(orders);
            self.shared.written.notify_all();
            if turn.stop {
                return;
            }
        }
    }

    /// Sleeps until there is something to do; lines alone wait a little for more of them.
    fn wait(&self) -> Turn {
        let urgent = |orders: &mut Orders| {
            orders.reopen || orders.stop || orders.target.is_some() || orders.flush_asked > orders.flush_done
        };
        let orders = self.shared.orders();
        let idle = self
            .shared
            .wake
            .wait_while(orders, |orders| !orders.lines_wait && !urgent(orders));
        let orders = idle.unwrap_or_else(PoisonError::into_inner);
        let lingered = self
            .shared
            .wake
            .wait_timeout_while(orders, LINGER, |orders| !urgent(orders));
        let mut orders = lingered.unwrap_or_else(PoisonError::into_inner).0;
        orders.lines_wait = false;
        Turn {
            reopen: std::mem::take(&mut orders.reopen),
            target: orders.target.take(),
            stop: orders.stop,
            flush: orders.flush_asked,
        }
    }

    fn write_queued(&mut self) {
        // Before the queues are looked at: a line that comes after this wakes the thread again.
        self.shared.woken.store(false, Relaxed);
        let shared = Arc::clone(&self.shared);
        for queue in &shared.queues {
            let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut self.batch, &mut queue.lines);
            let records = std::mem::take(&mut queue.records);
            drop(queue);
            if let Err(error) = self.sink.write(&self.batch) {
                self.failed(records, &error);
            }
            self.batch.clear();
        }
    }

    fn reopen(&mut self) {
        match self.sink.reopened() {
            Ok(sink) => self.sink = sink,
            Err(error) => {
                self.shared.metrics.failed_log_write();
                tracing::error!(%error, "the access log cannot be opened again; the old file is written on");
            }
        }
    }

    fn failed(&mut self, records: usize, error: &io::Error) {
        self.shared.metrics.failed_log_write();
        self.shared.metrics.dropped_log_record(records as u64);
        if self.reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
            self.reported = Some(Instant::now());
            tracing::error!(%error, records, "access records cannot be written");
        }
    }
}

/// Where lines go.
#[derive(Debug)]
enum Sink {
    Off,
    Stdout,
    File(std::path::PathBuf, File),
    #[cfg(test)]
    Pipe(io::PipeWriter),
}

impl Sink {
    fn open(target: &LogTarget) -> io::Result<Self> {
        match target {
            LogTarget::Off => Ok(Self::Off),
            LogTarget::Stdout => Ok(Self::Stdout),
            LogTarget::File(path) => Ok(Self::File(path.clone(), open_file(path)?)),
        }
    }

    fn reopened(&self) -> io::Result<Self> {
        match self {
            Self::Off => Ok(Self::Off),
            Self::Stdout => Ok(Self::Stdout),
            Self::File(path, _) => Ok(Self::File(path.clone(), open_file(path)?)),
            #[cfg(test)]
            Self::Pipe(pipe) => Ok(Self::Pipe(pipe.try_clone()?)),
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        match self {
            Self::Off => Ok(()),
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines)?;
                stdout.flush()
            }
            Self::File(_, file) => file.write_all(lines),
            #[cfg(test)]
            Self::Pipe(pipe) => pipe.write_all(lines),
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    // Who asked for what is nobody's business but the operator's.
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    options.open(path).map_err(named)
}

#[cfg(test)]
mod tests;
