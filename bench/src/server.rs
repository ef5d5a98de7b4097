//! A server in a process of its own, so that only the server's memory and CPU time are measured.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context, Result};

/// A server that runs until this is dropped.
pub struct Server {
    pub address: SocketAddr,
    process: Child,
    input: ChildStdin,
}

impl Server {
    /// Starts this program with these arguments.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        Self::spawn(Command::new(std::env::current_exe()?).args(arguments))
    }

    /// Starts a process, which must print its address as the first line.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let mut process = command.stdout(Stdio::piped()).stdin(Stdio::piped()).spawn()?;
        let input = process.stdin.take().context("an input")?;
        let mut address = String::new();
        BufReader::new(process.stdout.take().context("an output")?).read_line(&mut address)?;
        let address = address.trim().parse().with_context(|| format!("{command:?} printed {address:?}"))?;
        Ok(Self { address, process, input })
    }

    /// Writes a line to the process.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.input, "{line}")?)
    }

    /// The CPU time of the process until now. The kernel counts it in hundredths of a second.
    pub fn cpu_micros(&self) -> Result<f64> {
        self.everywhere(cpu_micros)
    }

    /// The resident memory of the process.
    pub fn resident_kilobytes(&self) -> Result<f64> {
        self.everywhere(resident_kilobytes)
    }

    /// The sum over the process and its children.
    fn everywhere(&self, of: fn(u32) -> Result<f64>) -> Result<f64> {
        let process = self.process.id();
        let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
        let children = children.split_whitespace().map(|child| anyhow::Ok(child.parse::<u32>()?));
        std::iter::once(Ok(process)).chain(children).map(|process| of(process?)).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _killed = self.process.kill();
        let _reaped = self.process.wait();
    }
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
