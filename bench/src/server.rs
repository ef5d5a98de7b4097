//! A server in a process of its own, so that only the server's memory and CPU time are measured.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// How long a server may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A server that runs until this is dropped.
pub struct Server {
    pub address: SocketAddr,
    process: Child,
    /// The server stops when this is dropped.
    input: Option<ChildStdin>,
    /// Whether the process only starts the processes of the server.
    is_starter: bool,
}

impl Server {
    /// Starts this program with these arguments.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        Self::spawn(Command::new(std::env::current_exe()?).args(arguments), false)
    }

    /// Starts a process, which must print its address as the first line. If it `is_starter`, only the processes that it
    /// starts are measured.
    pub fn spawn(command: &mut Command, is_starter: bool) -> Result<Self> {
        let mut process = command.stdout(Stdio::piped()).stdin(Stdio::piped()).spawn()?;
        let input = process.stdin.take();
        let mut address = String::new();
        BufReader::new(process.stdout.take().context("an output")?).read_line(&mut address)?;
        let address = address.trim().parse().with_context(|| format!("{command:?} printed {address:?}"))?;
        Ok(Self { address, process, input, is_starter })
    }

    /// Writes a line to the process.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.input.as_mut().context("an input")?, "{line}")?)
    }

    /// The CPU time of the process until now. The kernel counts it in hundredths of a second.
    pub fn cpu_micros(&self) -> Result<f64> {
        self.everywhere(cpu_micros)
    }

    /// The resident memory of the process.
    pub fn resident_kilobytes(&self) -> Result<f64> {
        self.everywhere(resident_kilobytes)
    }

    /// The sum over the process and all processes below it.
    fn everywhere(&self, of: fn(u32) -> Result<f64>) -> Result<f64> {
        tree(self.process.id())?.into_iter().skip(usize::from(self.is_starter)).map(of).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        let until = Instant::now() + STOP_LIMIT;
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _killed = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn tree(process: u32) -> Result<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
    let mut all = vec![process];
    for child in children.split_whitespace() {
        all.append(&mut tree(child.parse()?)?);
    }
    Ok(all)
}

fn cpu_micros(process: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = text.rsplit(')').next().context("fields")?.split_whitespace().collect();
    let ticks = |place: usize| anyhow::Ok(fields.get(place).context("a field")?.parse::<f64>()?);
    Ok((ticks(11)? + ticks(12)?) * 10_000.0)
}

fn resident_kilobytes(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()?)
}
