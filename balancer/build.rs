fn main() -> anyhow::Result<()> {
    aya_build::build_ebpf(
        [aya_build::Package {
            name: "balancer-ebpf",
            root_dir: "../balancer-ebpf",
            ..Default::default()
        }],
        aya_build::Toolchain::Custom("stable"),
    )
}
