//! Memory while bodies stream: a process of its own, since it is the process's memory that is measured.

use std::{
    fs,
    io::{Read, Write},
};

use stack::{Origin, Stack};

#[path = "gateway/stack.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod stack;

/// What streams each way; far more than anything may hold.
const STREAMED: usize = 1 << 30;
const CHUNK: usize = 1 << 16;
/// What the whole process, both ends of the streams included, may grow by.
const MEMORY: usize = 64 << 20;

#[test]
fn a_gigabyte_each_way_leaves_memory_flat() {
    let origin = Origin::serving(|client, _| {
        client.head_of_request();
        let mut sunk = vec![0; CHUNK];
        for _ in 0..STREAMED / CHUNK {
            client.stream.read_exact(&mut sunk).expect("the body");
        }
        client.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {STREAMED}\r\n\r\n"));
        for _ in 0..STREAMED / CHUNK {
            client.stream.get_mut().write_all(&sunk).expect("it reads");
        }
    });
    let stack = Stack::before(&origin);
    let mut client = stack.connect();
    let before = resident();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: {STREAMED}\r\n\r\n"
    ));
    let mut chunk = vec![7; CHUNK];
    let mut most = 0;
    for number in 0..STREAMED / CHUNK {
        client.send(&chunk);
        most = most.max(if number % 1024 == 0 { resident() } else { 0 });
    }
    assert_eq!(client.head().status, 200);
    for number in 0..STREAMED / CHUNK {
        client.stream.read_exact(&mut chunk).expect("the body");
        most = most.max(if number % 1024 == 0 { resident() } else { 0 });
    }
    assert_eq!(chunk[CHUNK - 1], 7, "what came back is what was sent");
    assert!(most < before + MEMORY, "{before} bytes grew to {most}");
}

/// The process's resident memory in bytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a line");
    let kilobytes: usize = line
        .split_whitespace()
        .nth(1)
        .expect("a number")
        .parse()
        .expect("a number");
    kilobytes * 1024
}
