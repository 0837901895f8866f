use percept_kernels::*;
use std::time::Instant;
fn values(n: usize) -> &'static mut [f32] {
    let v: &'static mut [f32] = Vec::leak(values_(n + 32));
    let o = (64 - v.as_ptr() as usize % 64) / 4 % 16 + std::env::var("OFF").map_or(0, |o| o.parse().unwrap());
    &mut v[o..o + n]
}
fn values_(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919) % 1001) as f32 / 500.0 - 1.0).collect()
}
fn best(mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut b = f64::MAX;
    let mut n = 0;
    while n < 5 || (start.elapsed().as_secs_f64() < 0.25) {
        let t = Instant::now();
        f();
        b = b.min(t.elapsed().as_secs_f64());
        n += 1;
    }
    b
}
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let threads: usize = args[1].parse().unwrap();
    let batch: usize = args[2].parse().unwrap();
    let what = args.get(3).cloned().unwrap_or_default();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let peak = 104e9 * threads as f64;
        if what.contains('d') {
            for [size, c, k, s] in [
                [112, 32, 3, 1],
                [112, 96, 3, 2],
                [56, 144, 3, 1],
                [56, 144, 5, 2],
                [28, 240, 5, 1],
                [28, 240, 3, 2],
                [14, 480, 5, 1],
                [14, 672, 5, 2],
                [7, 1152, 5, 1],
            ] {
                let shape =
                    ConvShape::new([batch, size, size, c], c, [k; 2], s, k / 2).unwrap().with_groups(c).unwrap();
                let (x, w, g) = (values(shape.input_len()), values(shape.weights_len()), values(shape.output_len()));
                let bias = values(c);
                let mut y = values(shape.output_len());
                let mut dx = values(shape.input_len());
                let mut dw = values(shape.weights_len());
                let (mut m, mut v) = (vec![0.0; c], vec![0.0; c]);
                let t = [
                    best(|| conv2d_fused(&shape, &x, &w, Some(&bias), None, Activation::Relu6, &mut y)),
                    best(|| conv2d_with_statistics(&shape, &x, &w, None, &mut y, &mut m, &mut v)),
                    best(|| conv2d_input_gradient(&shape, &g, &w, &mut dx)),
                    best(|| conv2d_weight_gradient(&shape, &x, &g, &mut dw)),
                ];
                let fl = 2.0 * shape.multiply_adds() as f64;
                let by = 4.0 * (shape.input_len() + shape.output_len()) as f64;
                print!("{size:4} {c:5} k{k}s{s} ");
                for t in t {
                    print!("| {:8.1} us {:5.1}% {:5.1} GB/s ", t * 1e6, 100.0 * fl / t / peak, by / t / 1e9);
                }
                println!();
            }
        }
        if what.contains('w') {
        // many copies of the weights, so that they come from where they come from in a network
        let copies: usize = std::env::var("COPIES").map_or(1, |c| c.parse().unwrap());
        for [size, i, o, k, s] in [[32,3,32,3,1],[32,32,32,3,1],[16,32,64,3,1],[16,64,64,3,1],[8,64,128,3,1],[8,128,128,3,1],[32,3,64,3,1],[32,64,64,3,1],[32,64,128,3,2],[16,128,128,3,1],[16,128,256,3,2],[8,256,256,3,1],[8,256,512,3,2],[4,512,512,3,1]] {
            let shape = ConvShape::new([1, size, size, i], o, [k; 2], s, k / 2).unwrap();
            let x = values(shape.input_len() * batch);
            let mut y = values(shape.output_len() * batch);
            print!("{size:4} {i:5} {o:5} s{s} ");
            let algos = if s == 1 { vec![Algorithm::Direct, Algorithm::Winograd2, Algorithm::Winograd4] } else { vec![Algorithm::Direct] };
            for a in algos {
                let p: Vec<_> = (0..copies).map(|_| a.run(|| PreparedConv::new(shape, values_(shape.weights_len()), Some(values_(o))))).collect();
                let mut n = 0;
                let t = best(|| { n += 1; a.run(|| p[n % copies].run(batch, &x, None, Activation::Relu, &mut y)) });
                print!("| {:?} {:7.1} us {:5.1}% ", a, t * 1e6, 2e2 * batch as f64 * shape.multiply_adds() as f64 / t / peak);
            }
            let p = PreparedConv::new(shape, values_(shape.weights_len()), Some(values_(o)));
            let t = best(|| p.run(batch, &x, None, Activation::Relu, &mut y));
            println!("| chosen {:7.1} us", t * 1e6);
        }}
        if what.contains('p') {
            for [size, i, o] in [
                [112, 32, 16],
                [112, 16, 96],
                [56, 96, 24],
                [56, 24, 144],
                [28, 240, 40],
                [28, 40, 240],
                [14, 480, 112],
                [14, 112, 672],
                [7, 1152, 192],
                [7, 320, 1280],
            ] {
                let shape = ConvShape::new([batch, size, size, i], o, [1; 2], 1, 0).unwrap();
                let (x, w) = (values(shape.input_len()), values(shape.weights_len()));
                let bias = values(o);
                let mut y = values(shape.output_len());
                let t = best(|| conv2d_fused(&shape, &x, &w, Some(&bias), None, Activation::Relu6, &mut y));
                let t2 = best(|| conv2d(&shape, &x, &w, Some(&bias), &mut y));
                let fl = 2.0 * shape.multiply_adds() as f64;
                let by = 4.0 * (shape.input_len() + shape.output_len() + shape.weights_len()) as f64;
                println!(
                    "{size:4} {i:5} {o:5} | {:8.1} us {:5.1}% {:5.1} GB/s | plain {:8.1} us {:5.1}%",
                    t * 1e6,
                    100.0 * fl / t / peak,
                    by / t / 1e9,
                    t2 * 1e6,
                    100.0 * fl / t2 / peak
                );
            }
        }
    });
}
