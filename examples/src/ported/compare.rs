//! The `twice` command: what many clients cost each of the servers, on threads and on fibers.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};

use clap::Args;

use crate::descriptors;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many clients are connected to each server
    #[arg(long, default_value_t = 10_000)]
    clients: usize,
}

/// What the kernel says of a process, in KiB but for the threads.
struct Memory {
    resident: u64,
    page_tables: u64,
    kernel_stacks: u64,
    threads: u64,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    descriptors::raise();
    match table(options.clients) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}; fewer --clients need fewer descriptors and threads");
            ExitCode::FAILURE
        }
    }
}

/// What a server could not bear is tried with half as many.
fn table(most: usize) -> io::Result<()> {
    println!(
        "Clients that have had an answer and wait. Memory in MiB; kernel stacks as the kernel counts them for the whole machine.\n"
    );
    println!(
        "| server | on      | clients | resident | page tables | kernel stacks | threads | KiB a client |"
    );
    println!(
        "| ------ | ------- | ------: | -------: | ----------: | ------------: | ------: | -----------: |"
    );
    for (server, hello) in [("chat", "NICK a\n"), ("kv", "GET a\n")] {
        for on in ["threads", "fibers"] {
            let mut clients = most;
            let memory = loop {
                match measure(server, on, hello, clients) {
                    Ok(memory) => break memory,
                    Err(error) if clients > 1 => {
                        eprintln!("{server} on {on} did not serve {clients} clients: {error}");
                        clients /= 2;
                    }
                    Err(error) => return Err(error),
                }
            };
            let sum = memory.resident + memory.page_tables + memory.kernel_stacks;
            let mib = |kib: u64| kib as f64 / 1024.0;
            println!(
                "| {server:6} | {on:7} | {clients:7} | {:8.1} | {:11.1} | {:13.1} | {:7} | {:12.1} |",
                mib(memory.resident),
                mib(memory.page_tables),
                mib(memory.kernel_stacks),
                memory.threads,
                sum as f64 / clients.max(1) as f64,
            );
        }
    }
    Ok(())
}

/// A server in a process of its own, which ends with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It never ends by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn measure(server: &str, on: &str, hello: &str, clients: usize) -> io::Result<Memory> {
    let stacks_before = kernel_stacks()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args([server, "--addr", "127.0.0.1:0"]);
    if on == "threads" {
        command.arg("--threads");
    }
    let mut server = Server(
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?,
    );
    let addr = listening(&mut server.0)?;
    let mut streams = Vec::with_capacity(clients);
    for _ in 0..clients {
        let mut stream = TcpStream::connect(addr)?;
        stream.write_all(hello.as_bytes())?;
        streams.push(stream);
    }
    for stream in &streams {
        let mut answer = String::new();
        BufReader::with_capacity(64, stream).read_line(&mut answer)?;
        if answer.is_empty() {
            return Err(io::Error::other("a client was not served"));
        }
    }
    let status = fs::read_to_string(format!("/proc/{}/status", server.0.id()))?;
    Ok(Memory {
        resident: field(&status, "VmRSS:")?,
        page_tables: field(&status, "VmPTE:")?,
        kernel_stacks: kernel_stacks()?.saturating_sub(stacks_before),
        threads: field(&status, "Threads:")?,
    })
}

fn listening(child: &mut Child) -> io::Result<SocketAddr> {
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    let addr = line.trim().strip_prefix("listening on ");
    addr.and_then(|addr| addr.parse().ok())
        .ok_or_else(|| io::Error::other("the server did not start"))
}

fn kernel_stacks() -> io::Result<u64> {
    field(&fs::read_to_string("/proc/meminfo")?, "KernelStack:")
}

fn field(text: &str, name: &str) -> io::Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("the kernel does not tell `{name}`")))
}
