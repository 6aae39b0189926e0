from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = [
        ("user_tasks", "0005_mariadb_uuid_conversion"),
        ("user_workflows", "0001_initial"),
    ]
    operations = [
        migrations.CreateModel(
            name="Export",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "task",
                    models.ForeignKey(
                        on_delete=models.deletion.CASCADE, to="user_tasks.usertaskstatus"
                    ),
                ),
                (
                    "workflow",
                    models.ForeignKey(
                        null=True,
                        on_delete=models.deletion.CASCADE,
                        to="user_workflows.usertaskstatus",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Protecting",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("status", models.ForeignKey(null=True, on_delete=models.deletion.PROTECT, to="user_workflows.usertaskstatus")),
                ("artifact", models.ForeignKey(null=True, on_delete=models.deletion.PROTECT, to="user_workflows.usertaskartifact")),
            ],
        ),
        migrations.CreateModel(
            name="Restricting",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("status", models.ForeignKey(on_delete=models.deletion.RESTRICT, to="user_workflows.usertaskstatus")),
            ],
        ),
    ]
