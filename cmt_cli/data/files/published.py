"""sha256 of files as their authors publish them, by stream: what tells them from other files of their layout.

A file that is missing here is not recognized, and then no license is claimed for the stream that holds it.
"""

from __future__ import annotations

PUBLISHED: dict[str, frozenset[str]] = {
    stream: frozenset(digests.split())
    for stream, digests in {
        # train-v1.1.json, dev-v1.1.json; xquad.en.json
        "squad": """
            3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955
            95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9
            e4c57d1c9143aaa1c5d265ba5987a65f4e69528d2a98f29d6e75019b10344f29
        """,
        # amazonReviewSnippets, movieReviewSnippets, nytEditorialSnippets and tweets, each _GroundTruth.txt
        "sentiment_domains": """
            11a9807a0974a2506a2d3b4851eaf69b3d6d20688ce4923adda2312a4f6dd6c2
            c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350
            7d8fbcce7dde5d716da53e78f4ef4be6b706e9ef1e1d51887e6d0ad4b69cc27e
            dfbe7102e2f92579ed8b19df9a3822491880697c67adf712fb66e520cc05102f
        """,
        # train.csv, test.csv, categories.json
        "banking77": """
            b06e26ac675513959a63135f11b94ea7786ed02da65db93a5650d8838cbc664b
            d12d6e3bc4c3103966ae786dc435913c0c563dfa328f5a3646d0e62cfeeb474d
            53261da888122daf2d120d925458631d9619e15d82e56052e7a42e535ce32b63
        """,
        # ner_data/{music,politics,science}/{train,dev,test}.txt
        "crossner": """
            05cadc5e129d394f7f92b4a052cf4b6ea4c60878d32a833e500cf046c297455f
            1d8be31abb58463349496fe21b13d70114cf015294a9ff9cce77af9b83e8aa84
            3616d59d4d2b9dbf4c1126f8d8ba47ff97886223c95f93649bfd527343e64ced
            3774c38e0ebbeb4b98dbfae137071e4911e8764cdb7f247599009841f68d9fb5
            4f1f30eb832f4c5fe474f67ca45e875d863bddf0bbe432262d272ef13639fa8f
            87ec141c7b41b3b52ec861737c4030d65c6e53954ed3d8106baca8603bbf8f24
            8f6a26096cc7be6790b5790bf5f5b5c8928d8b73d4632e7d45dc8bffad0504ac
            c66e345f959ac65593f76c6b1bd8c6d75f2a6f0bc197389b2e6700d101fd094c
            e256f1949df52a61a3bb60095a0f41c1060843f1014b0f3d22d8371611b72e78
        """,
        # v1/tatoeba.XXX-eng.{XXX,eng} of ara, cmn, deu, fin, fra, hin, ita, jpn, kor, nld, por, rus, spa, swh, tur, vie
        "tatoeba": """
            15e4fb0a394be4438319f1d6955d1aea226e2a8c5ad38798b23b76ae43d742ed
            1c672915446c336cc378676e6dbf91eb54d27bbfd0c61563d349265bc6374753
            1ffa0acc006018b3105abda41a4d4ca42f3c122964a49b71793546367b079a86
            29ba36232488f5806aceccac57c59c5e750ddd08edb40eef417e3ada9ff9a239
            322e610359f4d24852e673bbe4524d52c26dbf980aca0760e95c66dc21ecd504
            3b8836749df573a53235b85ed6771f31bf2de428f520d2d6a1dd94b61b4ef057
            3c11838c963f598a52dcf2f452b666353538257001db5c59c3a5f54a999b336b
            446ff2cae66053c2277d9735b2c2df6b786cae258385f7ade7bed68d8835c6a0
            56040bd6949170a631039d9f8f4c6440db8761b0065c9686feba55c99a320d46
            5634220f8a26a9a23b84753a9aec0b0832e6bdaa9da3f83e0bd84c928c3f46e3
            644172ff9642fefa9e41c29b7d6f44196518e84350dc44d4992e943c0cca92b6
            6dbb02d778b0bfc8678cd85f87db76de55dd7e409a26fe32ad42d50e0f1fff77
            738bf8f981e42d285f4f08bc09238782d285b02050e6e95287aa4e998bb7b24b
            7b26f52d6085b7c4944d6f5f6f5b6e1932085b42112f1444db515ce59e878fb8
            89e4470f4572040b1ca94b3edad97dcd8bd2f0141f072e12933b8659dadf917d
            8db3c734f755d578445947f1182f40faf2a9a0eca37561dd248717c088802d60
            965d033966fcd186c89741ad49ab4b0a0b2bbd33e02666635ff3b2be23c1ac1f
            9b3f369d0ed92273b46dd3b983721636e3d15024ce7125f5103229249c386d26
            a1f60bd8ae6c42224a4c050d2aa1ff4242d14827d64d7831e96ecf2b2c367f5f
            a768df7dd3d1344f872a458b32c3a65e24f8381826ccb16ba6677426176c8121
            adfce2269a55dbac69b25c0f4f6eb89e0f9383165485925a2e042e61b9480562
            b0c926a232c9889a87a1a970f9399c5618c2d95baf204321e9da794c0aec16f5
            b42129b34e1bf225ccc25fc00e532a6113af98adbc6605b93021bd8aadeb68b6
            d564d4ce1c621ccaefdbe9f5cb08eacccc7bf2a0b58666303e84ca9c7973bdb7
            deb4568cfb7b7cbbc060a7fe97c4639fb4680842f4fcd28df791ffdbb753855a
            e550c84184ec35b1a0dab3154284719511a21746e53c40f46eb6ab08179e9188
            e67a0ae072b79cd9e8eb09f166c3bc0b23488d39f5720f2ee0a8350ae17b719f
            e8539647caff9e329776ae863b6224d432923c6e4e9256b9df92ca58ff282eac
            eb9cc83a42f2c4b22f310d05311207e41abb56c2a084666cac3ee0f84d2d0b84
            edfa6f75a42554df388f45891735d5e4214158a99def4b73b5908af4a3054551
            f900cf3c9b72ed5a400e1804702863ff3df00be58eb060902e02285d0e68fab3
            f9628cea40481e8251f0999718bd893cff0f261752f5e526b3bc20284e2ca018
        """,
    }.items()
}
