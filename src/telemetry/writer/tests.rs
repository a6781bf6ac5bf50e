use std::io::Read;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn settings(access: LogTarget, queue: usize) -> LogSettings {
    LogSettings {
        format: LogFormat::Text,
        access,
        level: "info".to_owned(),
        queue,
        redact_query: Vec::new(),
        events: 0,
    }
}

fn start(access: LogTarget) -> (AccessLog, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new(2));
    let log = AccessLog::start(&settings(access, 1000), 2, Arc::clone(&metrics)).expect("it starts");
    (log, metrics)
}

fn push(log: &AccessLog, worker: usize, line: &str) {
    let worker = WorkerIndex::new(worker);
    log.push(worker, line.as_bytes());
}

#[test]
fn lines_of_all_workers_reach_the_file_in_their_order() -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("access.log");
    let (log, metrics) = start(LogTarget::File(path.clone()));
    for number in 0..100 {
        push(&log, number % 2, &format!("{number}\n"));
    }
    assert!(log.flush(PATIENCE));
    let text = std::fs::read_to_string(&path)?;
    let numbers: Vec<usize> = text.lines().map(|line| line.parse().expect("a number")).collect();
    let of = |worker: usize| {
        numbers
            .iter()
            .copied()
            .filter(|number| number % 2 == worker)
            .collect::<Vec<_>>()
    };
    assert_eq!(of(0), (0..100).step_by(2).collect::<Vec<_>>());
    assert_eq!(of(1), (1..100).step_by(2).collect::<Vec<_>>());
    assert_eq!(metrics.dropped_log_records(), 0);
    Ok(())
}

#[test]
fn a_blocked_pipe_drops_and_counts_and_never_blocks() -> io::Result<()> {
    const QUEUE: usize = 8;
    let (mut reader, pipe) = io::pipe()?;
    let metrics = Arc::new(Metrics::new(1));
    let wanted = settings(LogTarget::Stdout, QUEUE);
    let log = AccessLog::start_with(Sink::Pipe(pipe), &wanted, 1, Arc::clone(&metrics))?;
    // One line that no pipe takes whole, so that the thread stands in the middle of its write.
    let shared = Arc::clone(&log.shared);
    let long = "x".repeat(4 * 1024 * 1024);
    shared.room.store(usize::MAX / BYTES_A_RECORD, Relaxed);
    push(&log, 0, &format!("{long}\n"));
    assert!(!log.flush(Duration::from_millis(100)), "nobody reads the pipe yet");
    shared.room.store(QUEUE, Relaxed);
    for number in 0..QUEUE + 5 {
        push(&log, 0, &format!("{number}\n"));
    }
    assert_eq!(metrics.dropped_log_records(), 5);

    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    assert!(log.flush(PATIENCE));
    drop(log);
    let text = reading.join().expect("the reader ends")?;
    let expected: String = (0..QUEUE).map(|number| format!("{number}\n")).collect();
    assert_eq!(text, format!("{long}\n{expected}"));
    Ok(())
}

#[test]
fn a_moved_file_is_opened_again() -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let (path, moved) = (
        directory.path().join("access.log"),
        directory.path().join("access.log.1"),
    );
    let (log, _metrics) = start(LogTarget::File(path.clone()));
    push(&log, 0, "before\n");
    assert!(log.flush(PATIENCE));
    std::fs::rename(&path, &moved)?;
    log.reopen();
    assert!(log.flush(PATIENCE));
    push(&log, 0, "after\n");
    assert!(log.flush(PATIENCE));
    assert_eq!(std::fs::read_to_string(&moved)?, "before\n");
    assert_eq!(std::fs::read_to_string(&path)?, "after\n");
    Ok(())
}

#[test]
fn a_new_target_takes_the_lines_that_come_after_it() -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let (old, new) = (directory.path().join("old.log"), directory.path().join("new.log"));
    let (log, _metrics) = start(LogTarget::File(old.clone()));
    for _ in 0..100 {
        push(&log, 0, "old\n");
        log.apply(&settings(LogTarget::File(new.clone()), 10))?;
        push(&log, 0, "new\n");
        log.apply(&settings(LogTarget::File(old.clone()), 10))?;
    }
    assert!(log.flush(PATIENCE));
    assert_eq!(std::fs::read_to_string(&old)?, "old\n".repeat(100));
    assert_eq!(std::fs::read_to_string(&new)?, "new\n".repeat(100));
    Ok(())
}

#[test]
fn a_target_that_cannot_be_opened_leaves_the_old_one() -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("access.log");
    let (log, _metrics) = start(LogTarget::File(path.clone()));
    let missing = settings(LogTarget::File(directory.path().join("no/such/access.log")), 10);
    assert!(
        log.apply(&missing)
            .is_err_and(|error| error.to_string().contains("no/such/access.log"))
    );
    push(&log, 0, "line\n");
    assert!(log.flush(PATIENCE));
    assert_eq!(std::fs::read_to_string(&path)?, "line\n");
    Ok(())
}

#[test]
fn failed_writes_are_counted() -> io::Result<()> {
    let (reader, pipe) = io::pipe()?;
    drop(reader);
    let metrics = Arc::new(Metrics::new(1));
    let log = AccessLog::start_with(
        Sink::Pipe(pipe),
        &settings(LogTarget::Stdout, 8),
        1,
        Arc::clone(&metrics),
    )?;
    push(&log, 0, "lost\n");
    assert!(log.flush(PATIENCE));
    assert_eq!(metrics.dropped_log_records(), 1);
    assert!(metrics.render().contains("\nportcullis_log_write_errors_total 1\n"));
    Ok(())
}
