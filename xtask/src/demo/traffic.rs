//! The traffic: requests of many kinds by curl, and load by wrk.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use podtap_tests::{Nginx, check_interrupted, until};

use super::stage::Stage;

/// How long wrk runs.
const LOAD_SECONDS: u32 = 2;

/// How often the display is brought up to date.
const REFRESH: Duration = Duration::from_millis(100);

/// What is sent one by one: curl's arguments before the URL, and the path.
fn requests(upload: &str) -> Vec<(Vec<String>, &'static str)> {
    let order = r#"{"customer": {"email": "jane.doe@example.com", "phone": "+49 30 1234567"}, "card_number": "4111 1111 1111 1111", "items": [{"sku": "A-1", "count": 2}]}"#;
    let requests: [(&[&str], &str); 13] = [
        (&[], "/files/page.html"),
        (&["--compressed"], "/files/page.txt"),
        (&["--head"], "/files/page.txt"),
        (
            &["-H", "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl"],
            "/json?page=2&access_token=d3m0s3cr3t",
        ),
        (&["-H", "Cookie: session=d3m0s3cr3t; theme=dark", "-H", "X-Api-Key: d3m0s3cr3t"], "/login"),
        (
            &[
                "-H",
                "Content-Type: application/json",
                "-H",
                "Authorization: Basic amFuZTpzM2NyM3Q=",
                "-d",
                order,
            ],
            "/upload",
        ),
        (&["-d", "email=jane.doe%40example.com&password=hunter2&colour=blue"], "/upload"),
        (&["-H", "Content-Type: text/plain", "-H", "Transfer-Encoding: chunked", "-T", upload], "/upload"),
        (
            &["-H", "Expect: 100-continue", "-H", "Content-Type: text/plain", "--data-binary", "continue"],
            "/upload",
        ),
        (&["-X", "DELETE"], "/json"),
        (&[], "/status/204"),
        (&[], "/no/such/page"),
        (&[], "/status/500"),
    ];
    requests
        .into_iter()
        .map(|(arguments, path)| (arguments.iter().map(|&word| word.to_owned()).collect(), path))
        .collect()
}

/// Sends everything, and waits until it is stored.
pub(super) fn send(stage: &Stage) -> Result<()> {
    let upload = stage.directory().join("upload.txt");
    fs::write(&upload, "chunk after chunk\n".repeat(500)).context("write a file to upload")?;
    for (arguments, path) in requests(&upload.to_string_lossy()) {
        check_interrupted()?;
        println!("  curl {} {path}", shown(&arguments));
        curl(&arguments, &[stage.nginx.url(path)])?;
    }
    println!("  curl: three requests on one kept-alive connection, and one by IPv6");
    curl(&[], &[1, 2, 3].map(|page| stage.nginx.url(&format!("/json?page={page}"))))?;
    curl(&[], &[stage.nginx.url_v6("/json?ipv6")])?;

    println!("  wrk: 4 connections for {LOAD_SECONDS} s");
    let bar = ProgressBar::new_spinner().with_style(
        ProgressStyle::with_template("  {spinner} {elapsed} {msg}")
            .context("the progress display's template")?,
    );
    let mut wrk = Killed(
        Command::new("wrk")
            .args(["-t1", "-c4", &format!("-d{LOAD_SECONDS}s"), &stage.nginx.url("/files/small.txt")])
            .stdout(Stdio::null())
            .spawn()
            .context("start wrk")?,
    );
    let status = loop {
        check_interrupted()?;
        show_progress(&bar, stage, &stage.nginx)?;
        if let Some(status) = wrk.0.try_wait().context("wait for wrk")? {
            break status;
        }
        thread::sleep(REFRESH);
    };
    if !status.success() {
        bail!("wrk: {status}");
    }
    until("everything is stored", || {
        show_progress(&bar, stage, &stage.nginx).map_err(|error| error.to_string())?;
        match stage.pending() {
            Ok(0) => Ok(()),
            other => Err(format!("{other:?} bytes pending")),
        }
    })?;
    bar.finish_and_clear();
    println!(
        "  nginx served {} requests; {} exchanges are stored",
        stage.nginx.requests().len(),
        stage.stored()?
    );
    Ok(())
}

fn show_progress(bar: &ProgressBar, stage: &Stage, nginx: &Nginx) -> Result<()> {
    bar.set_message(format!("served {:>7}   stored {:>7}", nginx.requests().len(), stage.stored()?));
    bar.tick();
    Ok(())
}

fn curl(arguments: &[String], urls: &[String]) -> Result<()> {
    let mut command = Command::new("curl");
    command.args(["-sS", "--noproxy", "*", "--max-time", "30"]).args(arguments);
    // An output for each URL, or the rest would come to the terminal.
    for url in urls {
        command.args(["-o", "/dev/null", url]);
    }
    let status = command.status().context("run curl")?;
    if !status.success() {
        bail!("curl {urls:?}: {status}");
    }
    Ok(())
}

/// The arguments as typed, cut where they are long.
fn shown(arguments: &[String]) -> String {
    const WIDTH: usize = 48;
    let words = arguments.iter().map(|word| {
        let cut: String = word.chars().take(WIDTH).collect();
        let dots = if cut.len() < word.len() { "…" } else { "" };
        if word.contains([' ', '&', '{']) { format!("'{cut}{dots}'") } else { format!("{cut}{dots}") }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A child that does not outlive its guard.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
