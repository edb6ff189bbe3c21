//! Bundles, with `tar | zstd -T0 -3` over the same files in the same run as the yardstick.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Files of the corpus, and their bytes together.
const FILES: usize = 20_000;
const BYTES: usize = 430 << 20;
/// Each figure is the best of so many runs: the least disturbed one.
const RUNS: usize = 3;

/// Makes the corpus, runs everything, prints a line per figure with its limit, and says whether all are kept.
pub fn run() -> Outcome<bool> {
    let add = build_example()?;
    let dir = Scratch::new()?;
    let tree = dir.0.join("tree");
    let bytes = corpus(&tree)?;
    println!("bundle: {FILES} files, {} MB", bytes >> 20);
    let mut kept = true;
    let mut figure = |name: &str, value: f64, limit: f64, unit: &str| {
        kept &= value <= limit;
        let verdict = if value <= limit { "kept" } else { "MISSED" };
        println!("  {name:<46} {value:>8.3} {unit}  limit {limit:.3}  {verdict}");
    };

    let (mut ours, mut theirs, mut again, mut rss) = (f64::MAX, f64::MAX, f64::MAX, 0);
    let (archive, store) = (dir.0.join("archive.tar.zst"), dir.0.join("store"));
    let mut digest = String::new();
    for run in 0..RUNS {
        theirs = theirs.min(seconds(|| tar_and_zstd(&tree, &archive))?);
        if store.exists() {
            fs::remove_dir_all(&store)?;
        }
        let started = Instant::now();
        let (printed, peak) = measured(&add, &["add", text(&store)?, text(&tree)?])?;
        ours = ours.min(started.elapsed().as_secs_f64());
        (digest, rss) = (printed, rss.max(peak));
        fs::write(tree.join("pkg0/dir0/f0.ts"), format!("// changed in run {run}\n"))?;
        again =
            again.min(seconds(|| measured(&add, &["add", text(&store)?, text(&tree)?]).map(drop))?);
        fs::write(tree.join("pkg0/dir0/f0.ts"), "")?;
    }
    let (packed, tarred) = (size_below(&store)?, fs::metadata(&archive)?.len());
    println!(
        "  add {ours:.2} s, {} MB; tar | zstd -T0 -3 and fsync {theirs:.2} s, {} MB",
        packed >> 20,
        tarred >> 20
    );
    figure("add, fsync included, to tar | zstd", ours / theirs, 1.0, "x");
    figure("size, to tar | zstd", packed as f64 / tarred as f64, 1.05, "x");
    figure("peak memory of add", rss as f64 / 1024.0, 100.0, "MB");
    figure("add again after one changed line", again, 0.3, "s");
    for mode in ["stage", "link"] {
        let dest = dir.0.join(mode);
        let taken =
            seconds(|| measured(&add, &[mode, text(&store)?, &digest, text(&dest)?]).map(drop))?;
        println!("  {mode:<46} {taken:>8.3} s");
    }
    let (tiny, small) = (dir.0.join("tiny"), dir.0.join("small"));
    for number in 0..10 {
        fs::create_dir_all(tiny.join("src"))?;
        fs::write(tiny.join(format!("src/{number}.js")), format!("console.log({number})\n"))?;
    }
    let (mut add_tiny, mut stage_tiny) = (f64::MAX, f64::MAX);
    for number in 0..20 {
        fs::write(tiny.join("src/0.js"), format!("// {number}\n"))?;
        let started = Instant::now();
        let (digest, _) = measured(&add, &["add", text(&small)?, text(&tiny)?])?;
        add_tiny = add_tiny.min(started.elapsed().as_secs_f64());
        let dest = dir.0.join(format!("tiny-{number}"));
        let taken =
            seconds(|| measured(&add, &["stage", text(&small)?, &digest, text(&dest)?]).map(drop))?;
        stage_tiny = stage_tiny.min(taken);
    }
    figure("add 10 files, process start included", add_tiny * 1000.0, 10.0, "ms");
    figure("stage 10 files, process start included", stage_tiny * 1000.0, 10.0, "ms");
    Ok(kept)
}

fn build_example() -> Outcome<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "-p", "onward-store", "--example", "add"])
        .status()?;
    if !status.success() {
        return Err("the example `add` does not build".into());
    }
    // This program lies in TARGET/PROFILE/; the example beside its profile's directory.
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(2).ok_or("no target directory")?;
    Ok(target.join("release/examples/add"))
}

/// Runs the example. Returns what it printed and its peak memory in KiB.
fn measured(program: &Path, args: &[&str]) -> Outcome<(String, u64)> {
    let time = Path::new("/usr/bin/time");
    let mut command = if time.exists() {
        let mut command = Command::new(time);
        command.args(["-f", "%M"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    let output = command.args(args).output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{args:?} failed: {stderr}").into());
    }
    let peak = stderr.trim().parse().unwrap_or(0);
    Ok((String::from_utf8(output.stdout)?.trim().to_owned(), peak))
}

fn tar_and_zstd(tree: &Path, archive: &Path) -> Outcome<()> {
    let mut tar = Command::new("tar")
        .arg("-C")
        .arg(tree)
        .args(["-cf", "-", "."])
        .stdout(Stdio::piped())
        .spawn()?;
    let input = tar.stdout.take().ok_or("tar has no output")?;
    let out = File::create(archive)?;
    let zstd = Command::new("zstd")
        .args(["-q", "-T0", "-3", "-c"])
        .stdin(input)
        .stdout(out.try_clone()?)
        .status()?;
    if !tar.wait()?.success() || !zstd.success() {
        return Err("tar | zstd failed".into());
    }
    Ok(out.sync_all()?)
}

fn seconds(work: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed().as_secs_f64())
}

fn text(path: &Path) -> Outcome<&str> {
    path.to_str().ok_or_else(|| "a path is not UTF-8".into())
}

fn size_below(path: &Path) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(path)? {
        let (path, meta) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
        total += if meta.is_dir() { size_below(&path)? } else { meta.len() };
    }
    Ok(total)
}

/// A directory that goes away with the benchmark.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("onward-bench-bundle-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The same pseudo-random numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % below
    }
}

/// What a large Node.js application looks like: sources, JSON, minified scripts, some images. Returns the bytes.
fn corpus(root: &Path) -> Outcome<u64> {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let words: Vec<String> = (0..4000).map(|_| word(&mut numbers)).collect();
    let mut total = 0;
    for number in 0..FILES {
        let directory = root.join(format!("pkg{}/dir{}", number / 200, number % 200 / 20));
        fs::create_dir_all(&directory)?;
        let (ending, size) = match number % 100 {
            // Few large files hold much of it, as in real trees.
            99 => ("bundle.js", (BYTES / FILES) * 30),
            90..=98 => ("png", BYTES / FILES),
            70..=89 => ("json", (BYTES / FILES) / 2),
            _ => ("ts", (BYTES / FILES) * 70 / 100),
        };
        let size = size / 2 + numbers.next(size + 1);
        let content = match ending {
            "png" => noise(&mut numbers, size),
            "json" => json(&mut numbers, &words, size),
            _ => source(&mut numbers, &words, size),
        };
        total += content.len() as u64;
        fs::write(directory.join(format!("f{number}.{ending}")), content)?;
    }
    fs::write(root.join("pkg0/dir0/f0.ts"), "")?;
    Ok(total)
}

fn word(numbers: &mut Numbers) -> String {
    let letters = b"etaoinshrdlucmfwypvbgkjqxz";
    (0..3 + numbers.next(9))
        .map(|_| char::from(letters[numbers.next(26).min(numbers.next(26))]))
        .collect()
}

/// A word; common ones are far more common, as in languages.
fn pick<'w>(numbers: &mut Numbers, words: &'w [String]) -> &'w str {
    let range = 1 + numbers.next(words.len());
    &words[numbers.next(range)]
}

fn source(numbers: &mut Numbers, words: &[String], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(size + 200);
    while out.len() < size {
        let (a, b, c) = (pick(numbers, words), pick(numbers, words), pick(numbers, words));
        let number = numbers.next(10_000);
        let written = match numbers.next(5) {
            0 => writeln!(
                out,
                "export function {a}_{b}({c}: string, index = {number}): Promise<{b}> {{"
            ),
            1 => writeln!(
                out,
                "  const {a} = await this.{b}.{c}({{ id: {number}, name: \"{a} {c}\" }});"
            ),
            2 => writeln!(out, "  if ({a}.{b} !== undefined && {c} > {number}) return {a};"),
            3 => writeln!(out, "  // {a} {b} the {c} of {number}"),
            _ => writeln!(out, "}}\n"),
        };
        written.expect("writing to memory cannot fail");
    }
    out
}

fn json(numbers: &mut Numbers, words: &[String], size: usize) -> Vec<u8> {
    let mut out = b"[\n".to_vec();
    while out.len() < size {
        let (a, b) = (pick(numbers, words), pick(numbers, words));
        let (x, y) = (numbers.next(1_000_000), numbers.next(100));
        writeln!(out, "  {{ \"name\": \"@{a}/{b}\", \"version\": \"{y}.{x}\", \"size\": {x} }},")
            .expect("writing to memory cannot fail");
    }
    out
}

fn noise(numbers: &mut Numbers, size: usize) -> Vec<u8> {
    (0..size).map(|_| (numbers.next(256)) as u8).collect()
}
